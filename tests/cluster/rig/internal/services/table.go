package services

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is the whole table as nft reads it. Connections that are open are not touched by a new one:
// what they were translated to is the kernel's to remember.
//
// Each packet that opens a connection to a Service draws a number below the count of its endpoints,
// and address and number are looked up together. All Services with as many endpoints share a chain:
// with one for each Service, five thousand of them take the kernel half a minute to check.
func (w *world) table() string {
	var counts []int
	var services, endpoints, pairs []string
	for _, key := range slices.Sorted(maps.Keys(w.translate)) {
		behind := w.translate[key]
		counts = append(counts, len(behind))
		services = append(services, fmt.Sprintf("%s : goto of%d", key, len(behind)))
		for number, endpoint := range behind {
			endpoints = append(endpoints, fmt.Sprintf("%s . %d : %s", key, number, endpoint))
		}
	}
	slices.Sort(counts)
	for _, address := range w.endpoints {
		pairs = append(pairs, address+" . "+address)
	}
	t := &text{}
	t.line("table ip rig { }")
	t.line("delete table ip rig")
	t.line("table ip rig {")
	t.set("map services", "ipv4_addr . inet_proto . inet_service : verdict", services)
	t.set("map endpoints", "ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service", endpoints)
	t.set("set virtual", "ipv4_addr", w.virtual)
	t.set("set itself", "ipv4_addr . ipv4_addr", pairs)
	for _, count := range slices.Compact(counts) {
		t.line(fmt.Sprintf(`chain of%d {
  meta mark set numgen random mod %d
  meta l4proto { tcp, udp } dnat to ip daddr . meta l4proto . th dport . meta mark map @endpoints
}`, count, count))
	}
	t.line(`chain translate {
  ip daddr . meta l4proto . th dport vmap @services
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
}
}`)
	return t.String()
}

// text is the table while it is written.
type text struct{ strings.Builder }

func (t *text) line(line string) { t.WriteString(line + "\n") }

func (t *text) set(head, kind string, elements []string) {
	t.line(head + " {\n  type " + kind)
	if len(elements) > 0 {
		t.line("  elements = { " + strings.Join(elements, ", ") + " }")
	}
	t.line("}")
}
