//! A question that a worker answers with a line of text, by an operation of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::ir::{BackendIr, CustomOpIr, HandleContainer, ScalarIr, TensorIr};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchDevice, Remote};
use burn::remote::CustomOpClient;
use burn::tensor::{DType, Device, Shape, TensorData, read_sync};

/// The client of a worker's device.
pub(super) fn client(device: &Device) -> CustomOpClient {
    let DispatchDevice::Remote(remote) = device.as_dispatch() else {
        panic!("a worker's device is remote, got {device:?}")
    };
    CustomOpClient::new(remote)
}

/// Gives the answer to a call: text of at most as many bytes as the output has elements.
pub(super) fn give<B: BackendIr>(
    handles: &mut HandleContainer<B::Handle>,
    call: &CustomOpIr,
    device: &B::Device,
    text: &str,
) {
    let output = &call.outputs[0];
    let length = output.shape.num_elements();
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, b' ');
    let values: Vec<f32> = bytes.into_iter().map(f32::from).collect();
    let answer = B::float_from_data(TensorData::new(values, [length]), device);
    handles.register_float_tensor::<B>(&output.id, answer);
}

/// A question that has been sent.
pub(super) struct Question(Option<FloatTensor<Remote>>);

/// Sends a question; the answer has at most `length` bytes.
pub(super) fn ask(device: &Device, name: &'static str, scalars: Vec<ScalarIr>, length: usize) -> Question {
    // If the session is closed, sending panics.
    let sent = catch_unwind(AssertUnwindSafe(|| {
        let client = client(device);
        let answer = TensorIr::uninit(client.create_empty_handle(), Shape::from([length]), DType::F32);
        client.register(CustomOpIr::with_scalars(name, &[], &[answer], scalars)).remove(0)
    }));
    Question(sent.ok())
}

impl Question {
    /// The answer. `None` from a worker that does not know the question: it closes the session, and reading
    /// fails.
    pub fn answer(self) -> Option<String> {
        let answer = self.0?;
        let read = || read_sync(<Remote as FloatTensorOps<Remote>>::float_into_data(answer)).ok();
        let data = catch_unwind(AssertUnwindSafe(read)).ok()??;
        let bytes: Vec<u8> = data.iter::<f32>().map(|value| value as u8).collect();
        Some(String::from_utf8_lossy(&bytes).trim_end().to_string())
    }
}
