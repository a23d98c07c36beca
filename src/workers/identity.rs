//! The identity of a worker: its version, and the version of the form in which operations are sent. The
//! trainer asks for it with a separate operation, because burn only compares the version of its own protocol.

use burn::backend::ir::BackendIr;
use burn::server::CustomOpRegistry;
use burn::tensor::Device;

use super::answer;
use crate::ops::deferred::wire::WIRE_VERSION;

const NAME: &str = "faster_rcnn::identity";

/// Bytes of the answer.
const LENGTH: usize = 64;

fn identity() -> String {
    format!("faster-rcnn {}, operations {WIRE_VERSION}", env!("CARGO_PKG_VERSION"))
}

/// Lets a worker answer with its identity.
pub(super) fn register<B: BackendIr>(registry: &mut CustomOpRegistry<B>) {
    registry.register(NAME, |handles, call, device| answer::give::<B>(handles, call, device, &identity()));
}

/// Refuses a worker of another version or with other operations.
pub(super) fn check(device: &Device) -> Result<(), String> {
    match answer::ask(device, NAME, Vec::new(), LENGTH).answer() {
        None => Err(format!("does not know the operations of {}", identity())),
        Some(found) if found == identity() => Ok(()),
        Some(found) => Err(format!("is {found}, this is {}", identity())),
    }
}
