//! The operations on a device of another process: described, sent, and run there by the handlers that
//! [`registry`] registers.

use burn::backend::ir::{BackendIr, OperationIr};
use burn_router::{BackendRouter, CustomOpRegistry, RouterChannel, RouterClient, RouterTensor};

use super::DetectionOps;
use super::custom::{Call, NAMES, execute};
use super::described::Described;

/// The handlers of a worker, on backend `B`.
pub(crate) fn registry<B: BackendIr + DetectionOps>() -> CustomOpRegistry<B> {
    let mut registry = CustomOpRegistry::new();
    for name in NAMES {
        registry.register(name, |handles, description, _device| execute::<B>(handles, description));
    }
    registry
}

/// Differs where operations travel differently.
pub(crate) fn wire_checksum() -> u32 {
    crc32fast::hash(include_bytes!("custom.rs"))
}

impl<C: RouterChannel> Described for BackendRouter<C> {
    type Tensor = RouterTensor<C::Client>;

    fn call(call: Call, inputs: Vec<Self::Tensor>) -> Vec<Self::Tensor> {
        let client = inputs[0].client.clone();
        let inputs: Vec<_> = inputs.into_iter().map(RouterTensor::into_ir).collect();
        let description = call.describe(&inputs, || client.create_empty_handle());
        client.register(OperationIr::Custom(description))
    }
}
