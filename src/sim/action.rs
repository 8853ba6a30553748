//! The operation that a request calls, from its header `X-Amz-Target`.

use hyper::header::HeaderMap;

use super::faults::Operation;

/// Returns the operation of a request; `None` if it is not supported.
pub(super) fn operation(headers: &HeaderMap) -> Option<Operation> {
    let (service, name) = headers.get(ACTION)?.to_str().ok()?.split_once('.')?;
    let operation = Operation::from_name(name)?;
    (of(operation).0 == service).then_some(operation)
}

/// Returns the name of the called service in signatures.
pub(super) fn signing_name(headers: &HeaderMap) -> &'static str {
    operation(headers).map_or(SSM.1, |operation| of(operation).1)
}

/// Returns the names of a service, in the header and in signatures.
fn of(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::StartSession
        | Operation::ResumeSession
        | Operation::TerminateSession
        | Operation::DescribeSessions
        | Operation::DescribeInstanceInformation
        | Operation::DescribeDocument => SSM,
        Operation::ListTasks | Operation::DescribeTasks => ECS,
        Operation::SendSshPublicKey => INSTANCE_CONNECT,
    }
}

const ACTION: &str = "x-amz-target";

const SSM: (&str, &str) = ("AmazonSSM", "ssm");
const ECS: (&str, &str) = ("AmazonEC2ContainerServiceV20141113", "ecs");
const INSTANCE_CONNECT: (&str, &str) = ("AWSEC2InstanceConnectService", "ec2-instance-connect");
