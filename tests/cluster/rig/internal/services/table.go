package services

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is the whole table as nft reads it. Connections that are open are not touched by a new one:
// what they were translated to is the kernel's to remember.
func (w *world) table() string {
	t := &text{chains: map[string]string{}}
	cluster, hosts, nodes := t.verdicts(w.translate), t.verdicts(w.hostPorts), t.verdicts(w.nodePorts)
	pairs := make([]string, 0, len(w.endpoints))
	for _, address := range w.endpoints {
		pairs = append(pairs, address+" . "+address)
	}
	t.line("table ip rig { }")
	t.line("delete table ip rig")
	t.line("table ip rig {")
	t.set("map cluster", "ipv4_addr . inet_proto . inet_service : verdict", cluster)
	t.set("map hosts", "ipv4_addr . inet_proto . inet_service : verdict", hosts)
	t.set("map ports", "inet_proto . inet_service : verdict", nodes)
	t.set("set nodes", "ipv4_addr", w.nodes)
	t.set("set virtual", "ipv4_addr", w.virtual)
	t.set("set itself", "ipv4_addr . ipv4_addr", pairs)
	for _, name := range slices.Sorted(maps.Values(t.chains)) {
		t.line("chain " + name + " { }")
	}
	t.line(`chain translate {
  ip daddr . meta l4proto . th dport vmap @cluster
  ip daddr . meta l4proto . th dport vmap @hosts
  ip daddr @nodes meta l4proto . th dport vmap @ports
}
chain prerouting {
  type nat hook prerouting priority -100
  jump translate
}
chain output {
  type nat hook output priority -100
  jump translate
}
chain postrouting {
  type nat hook postrouting priority 100
  ip saddr . ip daddr @itself ct status dnat masquerade
}
chain refuse {
  ip daddr @virtual meta l4proto tcp reject with tcp reset
  ip daddr @virtual reject
}
chain forwarded {
  type filter hook forward priority 0
  jump refuse
}
chain sent {
  type filter hook output priority 0
  jump refuse
}`)
	for endpoints, name := range t.chains {
		t.line(fmt.Sprintf("chain %s {\n%s}", name, endpoints))
	}
	t.line("}")
	return t.String()
}

// text is the table while it is written. Chains are shared by all that have the same endpoints.
type text struct {
	strings.Builder
	chains map[string]string // rules to the chain's name
}

func (t *text) line(line string) { t.WriteString(line + "\n") }

func (t *text) set(head, kind string, elements []string) {
	t.line(head + " {\n  type " + kind)
	if len(elements) > 0 {
		t.line("  elements = { " + strings.Join(elements, ", ") + " }")
	}
	t.line("}")
}

// verdicts gives the map's elements, each leading to the chain of its endpoints.
func (t *text) verdicts(keys map[string][]string) []string {
	elements := make([]string, 0, len(keys))
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		rules := spread(keys[key])
		name, known := t.chains[rules]
		if !known {
			name = fmt.Sprintf("to%d", len(t.chains))
			t.chains[rules] = name
		}
		elements = append(elements, key+" : goto "+name)
	}
	return elements
}

// spread is rules that send each new connection to one of the endpoints, all as likely.
func spread(endpoints []string) string {
	target := strings.Replace(endpoints[0], " . ", ":", 1)
	if len(endpoints) > 1 {
		parts := make([]string, 0, len(endpoints))
		for index, endpoint := range endpoints {
			parts = append(parts, fmt.Sprintf("%d : %s", index, endpoint))
		}
		target = fmt.Sprintf("numgen random mod %d map { %s }", len(endpoints), strings.Join(parts, ", "))
	}
	return fmt.Sprintf("  meta l4proto tcp dnat to %s\n  meta l4proto udp dnat to %s\n", target, target)
}
