//! The identity of a worker: its version, and the version of the form in which operations are sent. The
//! trainer asks for it with a separate operation, because burn only compares the version of its own protocol.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::ir::{BackendIr, CustomOpIr, TensorIr};
use burn::backend::ops::FloatTensorOps;
use burn::backend::{DispatchDevice, Remote};
use burn::remote::CustomOpClient;
use burn::server::CustomOpRegistry;
use burn::tensor::{DType, Device, Shape, TensorData, read_sync};

use crate::ops::deferred::wire::WIRE_VERSION;

const NAME: &str = "faster_rcnn::identity";

/// Elements of the answer, a byte each.
const LENGTH: usize = 64;

fn identity() -> String {
    format!("faster-rcnn {}, operations {WIRE_VERSION}", env!("CARGO_PKG_VERSION"))
}

/// Lets a worker answer with its identity.
pub(super) fn register<B: BackendIr>(registry: &mut CustomOpRegistry<B>) {
    registry.register(NAME, |handles, description, device| {
        let mut bytes = identity().into_bytes();
        bytes.resize(LENGTH, b' ');
        let values: Vec<f32> = bytes.into_iter().map(f32::from).collect();
        let answer = B::float_from_data(TensorData::new(values, [LENGTH]), device);
        handles.register_float_tensor::<B>(&description.outputs[0].id, answer);
    });
}

/// Refuses a worker of another version or with other operations.
pub(super) fn check(device: &Device) -> Result<(), String> {
    let DispatchDevice::Remote(remote) = device.as_dispatch() else {
        panic!("a worker's device is remote, got {device:?}")
    };
    let client = CustomOpClient::new(remote);
    let answer = TensorIr::uninit(client.create_empty_handle(), Shape::from([LENGTH]), DType::F32);
    let question = CustomOpIr::new(NAME, &[], &[answer]);
    // A server that does not know the operation closes the session, and reading then fails.
    let read = catch_unwind(AssertUnwindSafe(|| {
        let answer = client.register(question).remove(0);
        read_sync(<Remote as FloatTensorOps<Remote>>::float_into_data(answer)).ok()
    }));
    let Ok(Some(data)) = read else {
        return Err(format!("does not know the operations of {}", identity()));
    };
    let bytes: Vec<u8> = data.iter::<f32>().map(|value| value as u8).collect();
    let found = String::from_utf8_lossy(&bytes).trim_end().to_string();
    if found == identity() { Ok(()) } else { Err(format!("is {found}, this is {}", identity())) }
}
