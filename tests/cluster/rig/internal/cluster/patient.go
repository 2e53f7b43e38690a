package cluster

import (
	"errors"
	"net"
	"net/http"
	"time"
)

// patient is a transport that waits for the API server while it is not there. Informers would back
// off for up to half a minute instead, and tests wait for them after each outage.
type patient struct{ below http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	for {
		answer, err := p.below.RoundTrip(request)
		var dial *net.OpError
		if err == nil || !errors.As(err, &dial) || dial.Op != "dial" {
			return answer, err
		}
		// Nothing was sent, so it can be sent again; but the body has been closed.
		if request.Body != nil {
			if request.GetBody == nil {
				return nil, err
			}
			if request.Body, err = request.GetBody(); err != nil {
				return nil, err
			}
		}
		select {
		case <-request.Context().Done():
			return nil, request.Context().Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
