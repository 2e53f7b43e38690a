//! A registry is filled by a list: from registries and files, in every form that a list has, and
//! what stands in the way is overcome or named.

mod following;
mod forms;
mod login;
mod own;
mod rig;
mod sources;
mod trouble;
