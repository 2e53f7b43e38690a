package cluster

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Addresses are the same in every cluster: each has a network of its own.
const (
	bridge        = "rig0"
	gateway       = "10.244.0.1" // the first node's address and the pods' way out
	podRange      = "10.244.0.0/16"
	firstPod      = "10.244.1.1"
	lastPod       = "10.244.254.254"
	loadBalancers = "10.244.255.0/24"
	serviceRange  = "10.96.0.0/16"
	apiService    = "10.96.0.1"
	dnsService    = "10.96.0.10"
	apiPort       = 6443
)

func nodeName(index int) string { return fmt.Sprintf("node-%d", index+1) }

func nodeAddress(index int) netip.Addr {
	address := netip.MustParseAddr(gateway)
	for range index {
		address = address.Next()
	}
	return address
}

// isolate makes the mounts of our namespaces ours.
func isolate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc of the PID namespace: %w (in a container, it must not mask parts of /proc)", err)
	}
	// Where `ip netns` keeps names; nothing of the host's is needed there.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("/run: %w", err)
	}
	return os.Mkdir("/run/netns", 0o755)
}

func makeNetwork(nodes int) error {
	commands := []string{
		"link set lo up",
		"link add " + bridge + " type bridge",
		"link set " + bridge + " up",
		"addr add " + gateway + "/16 dev " + bridge,
		"addr add " + dnsService + "/32 dev lo",
		// So that a packet to a ClusterIP has a way at all, before it is translated.
		"route add " + serviceRange + " dev " + bridge + " src " + gateway,
	}
	for index := 1; index < nodes; index++ {
		commands = append(commands, "addr add "+nodeAddress(index).String()+"/16 dev "+bridge)
	}
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("the cluster's network: %w: %s", err, output)
	}
	for name, value := range map[string]string{
		"ip_forward": "1",
		// All pods are on one bridge and yet shall talk by way of its address.
		"conf/all/send_redirects": "0", "conf/" + bridge + "/send_redirects": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			return err
		}
	}
	// Where the kernel would translate packets while the bridge carries them, a pod would not reach
	// itself by way of its Service. Absent if the kernel has no such thing.
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("0"), 0)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// manyUsers says whether other users than root are mapped in our user namespace.
func manyUsers() bool {
	bytes, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(bytes))
	return err == nil && (len(fields) != 3 || fields[2] != "1")
}
