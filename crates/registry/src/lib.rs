//! Images: where they are kept, and where they come from.
//!
//! Nothing of Kubernetes' API and nothing of the proxy belongs here.

pub mod creds;
