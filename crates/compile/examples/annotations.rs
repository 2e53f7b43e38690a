//! Writes the book's page of ingress-nginx's annotations: `docs/annotations.md`.

fn main() {
    print!("{}", narthex_compile::annotations_page());
}
