//! The exchange of gradients between workers: operations that a trainer sends, and what workers do then.
//!
//! A worker carries out its orders one after the other, and computes meanwhile. So an exchange has two orders.
//! The first takes the gradients, and threads of the worker send them and receive those of the others while
//! the worker goes on. The second waits for the sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use burn::backend::ir::{BackendIr, CustomOpIr, HandleContainer, ScalarIr, TensorIr};
use burn::backend::{Remote, TensorMetadata};
use burn::server::CustomOpRegistry;
use burn::tensor::{DType, Device, Shape, Tensor, TensorData, read_sync};
use rand::RngExt;

use super::address::Address;
use super::answer;
use super::meeting::Meeting;
use crate::error::{Error, Result};
use crate::model::stages::Stage;
use crate::train::{Exchange, GradientType, Member, Sum};

const JOIN: &str = "faster_rcnn::exchange_join";
const BEGIN: &str = "faster_rcnn::exchange_begin";
const END: &str = "faster_rcnn::exchange_end";

/// Bytes of the answer to [`JOIN`], which is empty or an error.
const LENGTH: usize = 512;

/// Lets a worker take part.
pub(super) fn register<B: BackendIr>(registry: &mut CustomOpRegistry<B>, meeting: &Arc<Meeting>) {
    let joining = meeting.clone();
    registry.register(JOIN, move |handles, call, device| {
        let (run, rest) = read_run(&call.scalars);
        let rank = rest[0].elem::<u64>() as usize;
        let text: Vec<u8> = rest[1..].iter().map(|byte| byte.elem::<u64>() as u8).collect();
        let text = String::from_utf8_lossy(&text);
        let addresses: Vec<String> = text.split(',').map(str::to_string).collect();
        let problem = joining.join(run, rank, &addresses).err().unwrap_or_default();
        answer::give::<B>(handles, call, device, &problem);
    });
    let beginning = meeting.clone();
    registry.register(BEGIN, move |handles, call, device| begin::<B>(&beginning, handles, call, device));
    let ending = meeting.clone();
    registry.register(END, move |handles, call, device| {
        // The handle of the token goes.
        drop(handles.get_float_tensor::<B>(&call.inputs[0]));
        let (run, rest) = read_run(&call.scalars);
        let output = &call.outputs[0];
        let sum =
            ending.group(run).and_then(|group| group.end(rest[0].elem::<u64>(), output.shape.num_elements()));
        // A panic closes the session, and the trainer ends.
        let sum = sum.unwrap_or_else(|error| panic!("gradients cannot be exchanged: {error}"));
        let data = TensorData::from_bytes_vec(sum, output.shape.clone(), DType::F32);
        handles.register_float_tensor::<B>(&output.id, B::float_from_data(data, device));
    });
}

fn begin<B: BackendIr>(
    meeting: &Meeting,
    handles: &mut HandleContainer<B::Handle>,
    call: &CustomOpIr,
    device: &B::Device,
) {
    let (run, rest) = read_run(&call.scalars);
    let (number, urgency) = (rest[0].elem::<u64>(), rest[1].elem::<u64>() as u8);
    let on_the_way = if rest[2].elem::<bool>() { GradientType::Bf16 } else { GradientType::F32 };
    let group = meeting.group(run).unwrap_or_else(|error| panic!("{error}"));
    let tensor = handles.get_float_tensor::<B>(&call.inputs[0]);
    let token = B::float_zeros(Shape::from([1]), device, DType::F32.into());
    handles.register_float_tensor::<B>(&call.outputs[0].id, token);
    // A read from a GPU waits until the gradients are there. Here it would keep what comes next from being
    // queued.
    thread::spawn(move || match read_sync(B::float_into_data(tensor)) {
        Ok(data) => group.begin(number, data, on_the_way, urgency),
        Err(error) => group.fail(&format!("gradients cannot be read from the device: {error}")),
    });
}

fn run_scalars(run: u128) -> Vec<ScalarIr> {
    vec![ScalarIr::UInt(run as u64), ScalarIr::UInt((run >> 64) as u64)]
}

fn read_run(scalars: &[ScalarIr]) -> (u128, &[ScalarIr]) {
    let half = |place: usize| u128::from(scalars[place].elem::<u64>());
    (half(0) | half(1) << 64, &scalars[2..])
}

/// The exchange of a trainer's workers.
#[derive(Debug)]
pub(super) struct Direct {
    run: u128,
    devices: Vec<Device>,
    /// How many sums each member has begun, by stage.
    begun: Vec<[AtomicU64; Stage::ALL.len()]>,
}

impl Direct {
    /// Lets the workers meet.
    ///
    /// # Errors
    ///
    /// [`Error::Worker`] names one that another cannot reach.
    pub fn between(members: &[Member], addresses: &[Address]) -> Result<Self> {
        let run = rand::rng().random::<u128>();
        let hosts: Vec<String> = addresses.iter().map(Address::host).collect();
        let ask = |(rank, member): (usize, &Member)| {
            let mut scalars = run_scalars(run);
            scalars.push(ScalarIr::UInt(rank as u64));
            scalars.extend(hosts.join(",").bytes().map(|byte| ScalarIr::UInt(byte.into())));
            answer::ask(&member.device, JOIN, scalars, LENGTH)
        };
        let questions: Vec<_> = members.iter().enumerate().map(ask).collect();
        // They wait for each other, so all of them get the question before one has to answer.
        for member in members {
            let sent = member.device.flush();
            sent.map_err(|error| Error::worker_because(&member.name, "cannot be told of the others", error))?;
        }
        for (member, question) in members.iter().zip(questions) {
            match question.answer() {
                Some(problem) if problem.is_empty() => {}
                Some(problem) => return Err(Error::worker(&member.name, problem)),
                None => return Err(Error::worker(&member.name, "cannot exchange gradients")),
            }
        }
        let devices: Vec<Device> = members.iter().map(|member| member.device.clone()).collect();
        let begun = devices.iter().map(|_| Default::default()).collect();
        Ok(Self { run, devices, begun })
    }
}

impl Exchange for Direct {
    fn begin(&self, member: usize, stage: Stage, tensor: Tensor<1>, on_the_way: GradientType) -> Sum {
        let round = self.begun[member][stage as usize].fetch_add(1, Ordering::Relaxed);
        let number = round * Stage::ALL.len() as u64 + stage as u64;
        let device = &self.devices[member];
        let client = answer::client(device);
        let tensor = tensor.try_into_primitive::<Remote>().expect("the tensor of a worker is remote");
        let shape = tensor.shape();
        let token = TensorIr::uninit(client.create_empty_handle(), Shape::from([1]), DType::F32);
        let mut scalars = run_scalars(self.run);
        scalars.push(ScalarIr::UInt(number));
        let mut ending = scalars.clone();
        // What the next forward pass needs first is sent first.
        scalars.push(ScalarIr::UInt(stage as u64));
        scalars.push(ScalarIr::Bool(on_the_way == GradientType::Bf16));
        let call = CustomOpIr::with_scalars(BEGIN, &[tensor.into_ir()], &[token], scalars);
        let token = client.register(call).remove(0);
        Box::new(move || {
            let sum = TensorIr::uninit(client.create_empty_handle(), shape, DType::F32);
            let call = CustomOpIr::with_scalars(END, &[token.into_ir()], &[sum], std::mem::take(&mut ending));
            Tensor::from_primitive::<Remote>(client.register(call).remove(0))
        })
    }
}
