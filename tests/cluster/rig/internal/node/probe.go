package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// unhealthy is why a container has to be restarted, and how long it has to end.
type unhealthy struct {
	message string
	grace   time.Duration
}

// eager is how often a probe that has not succeeded yet is asked beside its own period: a pod is
// seen to be ready when it is, and failures are still counted once a period.
const eager = 200 * time.Millisecond

// probe asks the container's probes; the channel says when to restart it.
func (r *runner) probe(ctx context.Context) <-chan unhealthy {
	failed := make(chan unhealthy, 2)
	fail := func(kind string, probe *corev1.Probe, err error) {
		grace := time.Duration(30) * time.Second
		if seconds := r.pod.spec.TerminationGracePeriodSeconds; seconds != nil {
			grace = time.Duration(*seconds) * time.Second
		}
		if seconds := probe.TerminationGracePeriodSeconds; seconds != nil {
			grace = time.Duration(*seconds) * time.Second
		}
		select {
		case failed <- unhealthy{fmt.Sprintf("%s probe failed: %v", kind, err), grace}:
		default:
		}
	}
	begun := make(chan struct{})
	go func() {
		if probe := r.spec.StartupProbe; probe != nil && !r.startup(ctx, probe, fail) {
			return
		}
		close(begun)
	}()
	if probe := r.spec.ReadinessProbe; probe != nil {
		go func() {
			if wait(ctx, begun) {
				r.watch(ctx, probe, false, true, func(ready bool, _ error) {
					r.pod.set(func() { r.status.Ready = ready && r.status.State.Running != nil })
				})
			}
		}()
	}
	if probe := r.spec.LivenessProbe; probe != nil {
		go func() {
			// A pod that is ending is not restarted.
			if wait(ctx, begun) {
				r.watch(r.pod.stopping, probe, true, false, func(alive bool, err error) {
					if !alive && ctx.Err() == nil {
						fail("liveness", probe, err)
					}
				})
			}
		}()
	}
	return failed
}

// startup returns true once the probe succeeded, and false when it failed too often.
func (r *runner) startup(ctx context.Context, probe *corev1.Probe, fail func(string, *corev1.Probe, error)) bool {
	began := false
	within, done := context.WithCancel(ctx)
	defer done()
	r.watch(within, probe, false, true, func(well bool, err error) {
		if well {
			began = true
			r.pod.set(func() {
				r.status.Started = &began
				r.status.Ready = r.spec.ReadinessProbe == nil
			})
		} else {
			fail("startup", probe, err)
		}
		done()
	})
	return began
}

// watch asks once a period and tells changes, counted as the thresholds say. At first the answer
// is `well`; without it, an `impatient` watch asks more often than told.
func (r *runner) watch(ctx context.Context, probe *corev1.Probe, well, impatient bool, told func(bool, error)) {
	period := time.Duration(probe.PeriodSeconds) * time.Second
	good, bad := int32(0), int32(0)
	if !sleep(ctx, time.Duration(probe.InitialDelaySeconds)*time.Second) {
		return
	}
	due := time.Now()
	ever := well
	for ctx.Err() == nil {
		err := r.ask(ctx, probe)
		counted := !time.Now().Before(due)
		if counted {
			due = time.Now().Add(period)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			good, bad = good+1, 0
			if !well && good >= probe.SuccessThreshold {
				well, ever = true, true
				told(true, nil)
			}
		case counted:
			good, bad = 0, bad+1
			// One that was never well fails when the threshold is reached, for startup.
			if bad == probe.FailureThreshold {
				well = false
				told(false, err)
			}
		}
		next := time.Until(due)
		if !ever && impatient {
			next = min(next, eager)
		}
		if !sleep(ctx, next) {
			return
		}
	}
}

func (r *runner) ask(ctx context.Context, probe *corev1.Probe) error {
	ctx, done := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
	defer done()
	switch {
	case probe.HTTPGet != nil:
		return r.get(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		return r.dial(ctx, probe.TCPSocket)
	case probe.Exec != nil:
		return r.execute(ctx, probe.Exec.Command)
	}
	return errors.New("this kind of probe is not known to the rig")
}

func (r *runner) get(ctx context.Context, action *corev1.HTTPGetAction) error {
	address, err := r.endpoint(action.Host, action.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(action.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	path := action.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.36")
	for _, header := range action.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
		} else {
			request.Header.Add(header.Name, header.Value)
		}
	}
	// Probes do not check certificates.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("HTTP status %d: %s", answer.StatusCode, body)
	}
	return nil
}

func (r *runner) dial(ctx context.Context, action *corev1.TCPSocketAction) error {
	address, err := r.endpoint(action.Host, action.Port)
	if err != nil {
		return err
	}
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// execute runs a command in the container; an error if it does not end with 0 in time.
func (r *runner) execute(ctx context.Context, arguments []string) error {
	command, err := r.enter(arguments)
	if err != nil {
		return err
	}
	var said strings.Builder
	command.Stdout, command.Stderr = &said, &said
	if err := runGroup(ctx, command); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// endpoint is where a probe or hook asks: the pod's address unless it names another.
func (r *runner) endpoint(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = r.pod.address.String()
	}
	number := port.IntValue()
	if port.Type == intstr.String && number == 0 {
		for _, named := range r.spec.Ports {
			if named.Name == port.StrVal {
				number = int(named.ContainerPort)
			}
		}
	}
	if number == 0 {
		return "", fmt.Errorf("container %s has no port %s", r.spec.Name, port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// hook runs postStart or preStop; one that fails is logged and nothing else.
func (r *runner) hook(name string, handler *corev1.LifecycleHandler, ctx context.Context) {
	if handler == nil {
		return
	}
	var err error
	switch {
	case handler.Exec != nil:
		err = r.execute(ctx, handler.Exec.Command)
	case handler.HTTPGet != nil:
		err = r.get(ctx, handler.HTTPGet)
	case handler.Sleep != nil:
		sleep(ctx, time.Duration(handler.Sleep.Seconds)*time.Second)
	}
	var exit *exec.ExitError
	if err != nil && (ctx.Err() == nil || errors.As(err, &exit)) {
		logf(r, "%s hook: %v", name, err)
	}
}

// wait says whether the channel was closed before the context was.
func wait(ctx context.Context, begun <-chan struct{}) bool {
	select {
	case <-begun:
		return true
	case <-ctx.Done():
		return false
	}
}

func sleep(ctx context.Context, span time.Duration) bool {
	if span <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(span):
		return true
	}
}
