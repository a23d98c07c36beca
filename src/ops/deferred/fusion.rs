//! The operations on a fused backend: recorded now, run later, when burn executes them.

use std::marker::PhantomData;

use burn::backend::fusion::custom::{CustomOpIr, HandleContainer, Operation, OperationIr, StreamId};
use burn::backend::fusion::{ExecutionError, Fusion, FusionBackend, FusionRuntime, FusionTensor};

use super::operations::Deferred;
use super::wire::{Call, execute};
use crate::ops::backend::DetectionOps;

#[derive(Debug)]
struct Run<B>(CustomOpIr, PhantomData<B>);

impl<B: FusionBackend + DetectionOps> Operation<B::FusionRuntime> for Run<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        execute::<B>(handles, &self.0);
        Ok(())
    }
}

impl<B: FusionBackend + DetectionOps> Deferred for Fusion<B> {
    type Tensor = FusionTensor<B::FusionRuntime>;

    fn defer(call: Call, inputs: Vec<Self::Tensor>) -> Vec<Self::Tensor> {
        let client = inputs[0].client.clone();
        let inputs: Vec<_> = inputs.into_iter().map(FusionTensor::into_ir).collect();
        let description = call.describe(&inputs, || client.create_empty_handle());
        let run = Run::<B>(description.clone(), PhantomData);
        client.register(StreamId::current(), OperationIr::Custom(description), run)
    }
}
