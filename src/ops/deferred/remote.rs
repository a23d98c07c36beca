//! The operations on a device of another process: noted, sent, and run there by the handlers of [`registry`].

use burn::backend::ir::{BackendIr, OperationIr};
use burn_router::{BackendRouter, CustomOpRegistry, RouterChannel, RouterClient, RouterTensor};

use super::operations::Deferred;
use super::wire::{Call, NAMES, execute};
use crate::ops::backend::DetectionOps;

/// The handlers of a worker, on backend `B`.
pub(crate) fn registry<B: BackendIr + DetectionOps>() -> CustomOpRegistry<B> {
    let mut registry = CustomOpRegistry::new();
    for name in NAMES {
        registry.register(*name, |handles, description, _device| execute::<B>(handles, description));
    }
    registry
}

impl<C: RouterChannel> Deferred for BackendRouter<C> {
    type Tensor = RouterTensor<C::Client>;

    fn defer(call: Call, inputs: Vec<Self::Tensor>) -> Vec<Self::Tensor> {
        let client = inputs[0].client.clone();
        let inputs: Vec<_> = inputs.into_iter().map(RouterTensor::into_ir).collect();
        let description = call.describe(&inputs, || client.create_empty_handle());
        client.register(OperationIr::Custom(description))
    }
}
