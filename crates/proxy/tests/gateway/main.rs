//! The data plane through its front door: a configuration in, sockets out.

mod datagrams;
mod filters;
mod grpc_auth;
mod listeners;
mod retries;
mod sites;
mod splits;
mod streams;
mod support;
