// Package certs makes what the parts of a control plane know each other by: an authority, the API
// server's certificate, the administrator's, and the key that signs ServiceAccount tokens.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names of the files in the cluster's folder.
const (
	Authority  = "ca.crt"
	Server     = "server" // .crt and .key
	Admin      = "admin"  // .crt and .key
	AccountKey = "sa.key"
)

// Write puts a fresh set into folder; the API server's certificate is good for addresses.
func Write(folder string, addresses []net.IP) error {
	issuer, err := newAuthority(folder)
	if err != nil {
		return err
	}
	err = issuer.leaf(Server, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		IPAddresses: addresses,
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return err
	}
	err = issuer.leaf(Admin, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return put(folder, AccountKey, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

// Kubeconfig is the administrator's, for the API server at a URL. It needs no other file, so that
// it can be copied.
func Kubeconfig(folder, server string) ([]byte, error) {
	encoded := map[string]string{}
	for _, name := range []string{Authority, Admin + ".crt", Admin + ".key"} {
		bytes, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		encoded[name] = base64.StdEncoding.EncodeToString(bytes)
	}
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: rig
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: admin
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: rig
  context: {cluster: rig, user: admin}
current-context: rig
`, server, encoded[Authority], encoded[Admin+".crt"], encoded[Admin+".key"]), nil
}

type authority struct {
	folder      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(folder string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rig-ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{folder, certificate, key}, put(folder, Authority, "CERTIFICATE", der)
}

func (a *authority) leaf(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = a.certificate.NotBefore, a.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := put(a.folder, name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return put(a.folder, name+".key", "EC PRIVATE KEY", encoded)
}

func put(folder, name, kind string, der []byte) error {
	block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(folder, name), block, 0o600)
}
