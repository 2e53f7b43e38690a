package launch

import (
	"encoding/json"
	"os"
	"path/filepath"

	"narthex.dev/rig/internal/node"
)

// writeImages says what stands in for the images that tests and the conformance suite use.
func writeImages(path, narthex string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	beside := func(name string) string { return filepath.Join(filepath.Dir(self), name) }
	images := []node.Image{
		{Prefix: "rig/host", Host: true, Entrypoint: []string{"/bin/sh"}},
		{Prefix: "registry.k8s.io/coredns/coredns", Files: map[string]string{"/coredns": beside("whoami")}, Entrypoint: []string{"/coredns"}},
	}
	for _, prefix := range []string{"rig/echo", "registry.k8s.io/gateway-api/echo-basic", "registry.k8s.io/gateway-api/echo-advanced"} {
		images = append(images, node.Image{Prefix: prefix, Files: map[string]string{"/echo-basic": beside("echo-basic")}, Entrypoint: []string{"/echo-basic"}})
	}
	if narthex != "" {
		program, err := filepath.Abs(narthex)
		if err != nil {
			return err
		}
		images = append(images, node.Image{Prefix: "narthex", Files: map[string]string{"/narthex": program},
			Entrypoint: []string{"/narthex"}, User: 65532})
	}
	bytes, err := json.MarshalIndent(images, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, bytes, 0o644)
}
