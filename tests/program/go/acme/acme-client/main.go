// An ACME client of lego's library: what a test asks for what an ACME server does, when it must not
// be Narthex that asks. It registers an account, obtains one certificate and writes it.
package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/acme/api"
	"github.com/go-acme/lego/v5/certcrypto"
	"github.com/go-acme/lego/v5/certificate"
	"github.com/go-acme/lego/v5/challenge/dns01"
	"github.com/go-acme/lego/v5/challenge/dnspersist01"
	"github.com/go-acme/lego/v5/challenge/tlsalpn01"
	"github.com/go-acme/lego/v5/lego"
	"github.com/go-acme/lego/v5/providers/http/webroot"
	"github.com/go-acme/lego/v5/registration"
)

var (
	directory  = flag.String("directory", "", "URL of the ACME server's directory; LEGO_CA_CERTIFICATES names the file of its CA")
	names      = flag.String("names", "", "names and addresses in the certificate, separated by commas")
	challenge  = flag.String("challenge", "http-01", "http-01, tls-alpn-01, dns-01 or dns-persist-01")
	root       = flag.String("webroot", "", "http-01: the folder that a web server serves; without, the challenge test server answers")
	listen     = flag.String("listen", "", "tls-alpn-01: where to listen; without, the challenge test server answers")
	management = flag.String("management", "", "URL of the challenge test server's management")
	resolver   = flag.String("resolver", "", "dns-persist-01: address of the DNS server to look for the record at")
	kid        = flag.String("eab-kid", "", "external account binding: the key's id")
	hmac       = flag.String("eab-hmac", "", "external account binding: the key, base64url")
	profile    = flag.String("profile", "", "profile of the certificate")
	renew      = flag.Bool("renew", false, "order a second certificate that replaces the first")
	revoke     = flag.Bool("revoke", false, "revoke the certificate once it is there")
	out        = flag.String("out", ".", "folder for tls.crt, tls.key and renewal-info.json")
)

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 80*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	key, err := certcrypto.GeneratePrivateKey(certcrypto.EC256)
	if err != nil {
		return err
	}
	account := &account{key: key}
	config := lego.NewConfig(account)
	config.CADirURL = *directory
	config.HTTPClient.Transport = soon{config.HTTPClient.Transport}
	client, err := lego.NewClient(config)
	if err != nil {
		return err
	}
	if account.registered, err = register(ctx, client); err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	fmt.Println("account", account.registered.Location)
	if err := answer(ctx, client, account); err != nil {
		return err
	}
	request := certificate.ObtainRequest{
		Domains: strings.Split(*names, ","),
		KeyType: certcrypto.EC256,
		Bundle:  true,
		Profile: *profile,
	}
	obtained, err := client.Certificate.Obtain(ctx, request)
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if *renew {
		if obtained, err = again(ctx, client, request, obtained); err != nil {
			return fmt.Errorf("renewal: %w", err)
		}
	}
	if err := write(ctx, client, obtained); err != nil {
		return err
	}
	if *revoke {
		return client.Certificate.Revoke(ctx, obtained.Certificate)
	}
	return nil
}

// again orders the same, saying what it replaces.
func again(
	ctx context.Context, client *lego.Client, request certificate.ObtainRequest, old *certificate.Resource,
) (*certificate.Resource, error) {
	leaf, err := certcrypto.ParsePEMCertificate(old.Certificate)
	if err != nil {
		return nil, err
	}
	if request.ReplacesCertID, err = api.MakeARICertID(leaf); err != nil {
		return nil, err
	}
	return client.Certificate.Obtain(ctx, request)
}

func register(ctx context.Context, client *lego.Client) (*acme.ExtendedAccount, error) {
	if *kid == "" {
		return client.Registration.Register(ctx, registration.RegisterOptions{TermsOfServiceAgreed: true})
	}
	return client.Registration.RegisterWithExternalAccountBinding(ctx, registration.RegisterEABOptions{
		TermsOfServiceAgreed: true,
		Kid:                  *kid,
		HmacEncoded:          *hmac,
	})
}

func answer(ctx context.Context, client *lego.Client, account *account) error {
	solvers := client.Challenge
	switch *challenge {
	case "http-01":
		if *root == "" {
			return solvers.SetHTTP01Provider(testServer{add: "/add-http01", del: "/del-http01"})
		}
		provider, err := webroot.NewHTTPProvider(*root)
		if err != nil {
			return err
		}
		return solvers.SetHTTP01Provider(provider)
	case "tls-alpn-01":
		if *listen == "" {
			return solvers.SetTLSALPN01Provider(testServer{add: "/add-tlsalpn01", del: "/del-tlsalpn01"})
		}
		host, port, err := net.SplitHostPort(*listen)
		if err != nil {
			return err
		}
		return solvers.SetTLSALPN01Provider(tlsalpn01.NewProviderServer(host, port))
	case "dns-01":
		// The test server has one zone, of everything: there is no SOA to find.
		skip := dns01.PropagationWait(0, true)
		return solvers.SetDNS01Provider(testServer{add: "/set-txt", del: "/clear-txt"}, skip)
	case "dns-persist-01":
		return persist(ctx, solvers, account)
	}
	return fmt.Errorf("there is no challenge %s", *challenge)
}

// persist sets the record that lasts for all orders of the account.
func persist(ctx context.Context, solvers interface {
	SetDNSPersist01(...dnspersist01.ChallengeOption) error
}, account *account,
) error {
	dnspersist01.SetDefaultClient(dnspersist01.NewClient(&dnspersist01.Options{
		RecursiveNameservers: []string{*resolver},
		Timeout:              10 * time.Second,
	}))
	for name := range strings.SplitSeq(*names, ",") {
		// The issuer's name is the one that pebble has unless its configuration says another.
		value := "pebble.letsencrypt.org; accounturi=" + account.registered.Location
		if strings.HasPrefix(name, "*.") {
			value += "; policy=wildcard"
		}
		host := "_validation-persist." + strings.TrimPrefix(name, "*.") + "."
		if err := post(ctx, "/set-txt", map[string]string{"host": host, "value": value}); err != nil {
			return err
		}
	}
	return solvers.SetDNSPersist01(dnspersist01.PropagationWait(0, true))
}

// testServer lets the challenge test server answer.
type testServer struct{ add, del string }

func (s testServer) Present(ctx context.Context, domain, token, keyAuth string) error {
	return post(ctx, s.add, s.record(ctx, domain, token, keyAuth))
}

func (s testServer) CleanUp(ctx context.Context, domain, token, keyAuth string) error {
	return post(ctx, s.del, s.record(ctx, domain, token, keyAuth))
}

// Timeout is asked for by dns-01 only.
func (s testServer) Timeout() (timeout, interval time.Duration) {
	return 30 * time.Second, 100 * time.Millisecond
}

func (s testServer) record(ctx context.Context, domain, token, keyAuth string) map[string]string {
	switch s.add {
	case "/add-http01":
		return map[string]string{"token": token, "content": keyAuth}
	case "/add-tlsalpn01":
		return map[string]string{"host": domain, "content": keyAuth}
	}
	info := dns01.GetChallengeInfo(ctx, domain, keyAuth)
	return map[string]string{"host": info.FQDN, "value": info.Value}
}

func post(ctx context.Context, path string, body map[string]string) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, *management+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(path + ": " + response.Status)
	}
	return nil
}

func write(ctx context.Context, client *lego.Client, obtained *certificate.Resource) error {
	leaf, err := certcrypto.ParsePEMCertificate(obtained.Certificate)
	if err != nil {
		return err
	}
	info, err := client.Certificate.GetRenewalInfo(ctx, leaf)
	if err != nil {
		return fmt.Errorf("renewal information: %w", err)
	}
	window, err := json.Marshal(info)
	if err != nil {
		return err
	}
	for name, bytes := range map[string][]byte{
		"tls.crt":           obtained.Certificate,
		"tls.key":           obtained.PrivateKey,
		"renewal-info.json": window,
	} {
		if err := os.WriteFile(filepath.Join(*out, name), bytes, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// soon says when to look again at a challenge, which pebble leaves open, and lego then waits for five
// seconds.
type soon struct{ http.RoundTripper }

func (s soon) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := s.RoundTripper.RoundTrip(request)
	if err == nil && strings.HasPrefix(request.URL.Path, "/chalZ/") && response.Header.Get("Retry-After") == "" {
		response.Header.Set("Retry-After", "1")
	}
	return response, err
}

type account struct {
	key        crypto.Signer
	registered *acme.ExtendedAccount
}

func (a *account) GetEmail() string                       { return "tests@narthex.example" }
func (a *account) GetRegistration() *acme.ExtendedAccount { return a.registered }
func (a *account) GetPrivateKey() crypto.Signer           { return a.key }
