//! Writes the book's page of the keys of ingress-nginx's ConfigMap: `docs/configmap.md`.

fn main() {
    print!("{}", narthex_compile::config_map_page());
}
