package node

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Tokens fetches ServiceAccount tokens for pods by TokenRequest.
//
// The API server gives none for less than ten minutes. Where a test asks for shorter ones, what it
// gave is signed again with an earlier end.
type Tokens struct {
	Key string // path of the key that signs ServiceAccount tokens

	mu   sync.Mutex
	life time.Duration // 0: as the pod says
	asOf time.Time     // older tokens are stale
}

type token struct {
	text        string
	since, next time.Time // when it was fetched, and when another one is due
}

// The API server accepts a token for this long after its end, for clocks that differ.
const leeway = time.Minute

// SetLife makes all tokens from now on live so long, and replaces those there are; 0 ends that.
func (t *Tokens) SetLife(life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.life, t.asOf = life, time.Now()
}

func (t *Tokens) stale(held *token) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return held.since.Before(t.asOf) || time.Now().After(held.next)
}

func (t *Tokens) get(p *pod, from *corev1.ServiceAccountTokenProjection) (*token, error) {
	t.mu.Lock()
	life := t.life
	t.mu.Unlock()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: from.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.name, UID: p.uid},
	}}
	if from.Audience != "" {
		request.Spec.Audiences = []string{from.Audience}
	}
	ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	account := p.spec.ServiceAccountName
	now := time.Now()
	answer, err := p.node.Client.CoreV1().ServiceAccounts(p.namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("token of ServiceAccount %s: %w", account, err)
	}
	text := answer.Status.Token
	if life > 0 {
		if text, err = t.shorten(text, now.Add(life)); err != nil {
			return nil, err
		}
	} else {
		life = answer.Status.ExpirationTimestamp.Sub(now)
	}
	return &token{text, now, now.Add(life * 8 / 10)}, nil
}

// shorten signs a token's claims again, with an end that the API server enforces at `end`.
func (t *Tokens) shorten(text string, end time.Time) (string, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("the API server's token is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil {
		return "", err
	}
	begin := end.Add(-leeway - time.Hour).Unix()
	claims["exp"], claims["iat"], claims["nbf"] = end.Add(-leeway).Unix(), begin, begin
	encoded, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString(encoded)
	key, err := t.key()
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (t *Tokens) key() (*rsa.PrivateKey, error) {
	bytes, err := os.ReadFile(t.Key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(bytes)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", t.Key)
	}
	return x509.ParsePKCS1PrivateKey(block.Bytes)
}
