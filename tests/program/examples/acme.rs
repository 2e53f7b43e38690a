//! An ACME server to try Narthex with by hand: `cargo xtask acme up`.

use std::io;

use program_tests::Acme;

fn main() -> io::Result<()> {
    let acme = Acme::starting().start();
    let challenges = &acme.challenges;
    println!("directory:  {}", acme.directory());
    println!("its CA:     {}", acme.ca_file().display());
    println!("HTTP-01:    on 127.0.0.1:{}", acme.http);
    println!("TLS-ALPN-01: on 127.0.0.1:{}", acme.tls);
    println!(
        "DNS:        {}, where all names are 127.0.0.1",
        challenges.dns()
    );
    println!("records:    {}/set-txt and others", challenges.management());
    println!("The root that certificates are of:\n{}", acme.root(0));
    println!("Enter ends it.");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
