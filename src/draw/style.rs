//! The font and the colours of all pictures.

/// DejaVu Sans, printable ASCII only. Its licence is in the same folder.
pub const FONT_FILE: &[u8] = include_bytes!("DejaVuSans-ascii.ttf");

/// Colours that differ much from each other. They are dark enough for white text on them and for lines on
/// white, and bright enough to be seen on black.
const PALETTE: [[u8; 3]; 10] = [
    [225, 30, 50],
    [0, 112, 224],
    [0, 140, 60],
    [210, 95, 0],
    [150, 60, 210],
    [0, 140, 150],
    [135, 95, 45],
    [215, 40, 160],
    [100, 110, 0],
    [90, 100, 125],
];

/// Colour of the `index`th class or line; they repeat after ten.
pub fn colour(index: usize) -> [u8; 3] {
    PALETTE[index % PALETTE.len()]
}
