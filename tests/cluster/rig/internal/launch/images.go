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
	echo := filepath.Join(filepath.Dir(self), "echo-basic")
	images := []node.Image{{Prefix: "rig/host", Host: true, Entrypoint: []string{"/bin/sh"}}}
	for _, prefix := range []string{"rig/echo", "registry.k8s.io/gateway-api/echo-basic", "registry.k8s.io/gateway-api/echo-advanced"} {
		images = append(images, node.Image{Prefix: prefix, Files: map[string]string{"/echo-basic": echo}, Entrypoint: []string{"/echo-basic"}})
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
