//! Writes the book's page of ingress-nginx's own tests and ours: `docs/ingress-nginx/e2e.md`.

fn main() {
    print!("{}", program_tests::e2e::page());
}
