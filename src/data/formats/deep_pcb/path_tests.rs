//! Names of files, in lists and in folders.

use std::fs;

use super::{ONE, names, open, open_list, own_boards, warnings, write_board};
use crate::data::dataset::Split;

#[test]
fn lists_may_name_files_as_they_are_or_as_deep_pcb_does() {
    let (_folder, root) = own_boards(&["0_test.JPG", "1_test.JPG", "2.png"], ONE);
    let list = |listed: [&str; 3]| {
        let line =
            |index: usize| format!("group00001/00001/{} group00001/00001_not/{index}.txt\n", listed[index]);
        fs::write(root.join("trainval.txt"), line(0) + &line(1)).unwrap();
        fs::write(root.join("test.txt"), line(2)).unwrap();
        let Split { train, validation } = open(&root).unwrap().sides(0);
        assert!(warnings(&root).is_empty());
        (names(&train), names(&validation))
    };
    let expected = (vec!["0_test.JPG".to_string(), "1_test.JPG".to_string()], vec!["2.png".to_string()]);
    assert_eq!(list(["0_test.JPG", "1_test.JPG", "2.png"]), expected);
    assert_eq!(list(["0.JPG", "1.JPG", "2.png"]), expected);
    assert_eq!(list(["0.jpg", "1.jpg", "2.jpg"]), expected);
}

#[test]
fn paths_may_have_blanks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for image in ["board a_test.jpg", "board b_test.jpg"] {
        write_board(root, "group 1/line 1", image, ONE);
    }
    assert_eq!(open(root).unwrap().records.len(), 2);
    let list = root.join("trainval.txt");
    for (a, b) in [("\"", "\" \""), ("", "\t")] {
        let line = |name: &str| format!("{a}group 1/line 1/{name}.jpg{b}group 1/line 1_not/{name}.txt{a}\n");
        fs::write(&list, line("board a") + &line("board b")).unwrap();
        let all = open_list(root, &list).unwrap();
        assert_eq!(names(&all), ["board a_test.jpg", "board b_test.jpg"]);
    }
    fs::write(&list, "group 1/line 1/board a.jpg group 1/line 1_not/board a.txt\n").unwrap();
    let error = open(root).unwrap_err().to_string();
    assert!(
        error.contains(":1: expected an image and a label file") && error.contains("double quotes"),
        "{error}"
    );
}

#[test]
fn hidden_files_are_no_boards() {
    let (_folder, root) = own_boards(&["0_test.jpg", "1_test.jpg"], ONE);
    let group = root.join("group00001");
    fs::write(group.join("00001/._0_test.jpg"), b"\x00\x05\x16\x07Mac OS X").unwrap();
    fs::create_dir(group.join(".ipynb_checkpoints")).unwrap();
    fs::copy(group.join("00001/0_test.jpg"), group.join(".ipynb_checkpoints/0_test.jpg")).unwrap();
    assert_eq!(names(&open(&root).unwrap()), ["0_test.jpg", "1_test.jpg"]);
    assert!(warnings(&root).is_empty());
}

/// Not on macOS, whose file systems take UTF-8 alone.
#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let (_folder, root) = own_boards(&["0_test.jpg"], ONE);
    let name = |end: &str| [b"group00001/00001", end.as_bytes()].concat();
    let latin1 =
        |before: &[u8], end: &[u8]| root.join(OsStr::from_bytes(&[before, b"/pr\xFCf", end].concat()));
    let image = latin1(&name(""), b"_test.jpg");
    fs::rename(root.join("group00001/00001/0_test.jpg"), &image).unwrap();
    fs::rename(root.join("group00001/00001_not/0.txt"), latin1(&name("_not"), b".txt")).unwrap();
    let all = open(&root).unwrap();
    assert_eq!((all.records[0].image.path(), all.records[0].annotations.len()), (image.as_path(), 2));
    assert_eq!(all.records[0].load().unwrap().dimensions(), (128, 128));

    fs::write(root.join("trainval.txt"), b"group00001/00001/pr\xFCf.jpg group00001/00001_not/pr\xFCf.txt\n")
        .unwrap();
    assert_eq!(open_list(&root, &root.join("trainval.txt")).unwrap(), all);
    assert!(warnings(&root).is_empty());
}
