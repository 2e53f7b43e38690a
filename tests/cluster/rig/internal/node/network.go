package node

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"narthex.dev/rig/internal/container"
)

// Network gives pods their addresses on the cluster's bridge.
//
// A pod's address has no subnet: everything it sends goes by way of the bridge's address, so that
// the answer of an endpoint beside it passes the translation of Services too.
type Network struct {
	Bridge  string
	Gateway netip.Addr

	mu   sync.Mutex
	next netip.Addr
	last netip.Addr
}

// NewNetwork hands out the addresses from first to last, then again from the start.
func NewNetwork(bridge string, gateway, first, last netip.Addr) *Network {
	return &Network{Bridge: bridge, Gateway: gateway, next: first, last: last}
}

func (n *Network) address() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	address := n.next
	if n.last.Less(address) {
		return address, fmt.Errorf("all pod addresses up to %s were used", n.last)
	}
	n.next = address.Next()
	return address, nil
}

// attach makes a network namespace with an address.
func (n *Network) attach(netns string, address netip.Addr) error {
	// Interface names have 15 bytes; the address' lower half tells pods apart.
	bytes := address.As4()
	link := fmt.Sprintf("pod%d-%d", bytes[2], bytes[3])
	if err := ip("", "netns add "+netns); err != nil {
		return err
	}
	err := ip("", fmt.Sprintf("link add %s type veth peer name eth0 netns %s", link, netns),
		fmt.Sprintf("link set %s master %s up", link, n.Bridge))
	if err != nil {
		return err
	}
	return ip(netns, "link set lo up",
		fmt.Sprintf("addr add %s/32 dev eth0", address), "link set eth0 up",
		fmt.Sprintf("route add %s dev eth0 scope link", n.Gateway),
		fmt.Sprintf("route add default via %s dev eth0 src %s", n.Gateway, address))
}

func (n *Network) detach(netns string) { _ = ip("", "netns del "+netns) }

// sysctl sets one of the kernel's parameters of a pod's network namespace.
func sysctl(netns, name, value string) error {
	if !strings.HasPrefix(name, "net.") {
		return fmt.Errorf("sysctl %s: only those of the network belong to a pod here", name)
	}
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	return container.InNetwork(netns, func() error { return os.WriteFile(path, []byte(value), 0) })
}

// ip runs commands of iproute2 in a namespace, or in ours.
func ip(netns string, commands ...string) error {
	arguments := []string{"-batch", "-"}
	if netns != "" {
		arguments = append([]string{"-n", netns}, arguments...)
	}
	command := exec.Command("ip", arguments...)
	command.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(commands, "; "), err, output)
	}
	return nil
}
