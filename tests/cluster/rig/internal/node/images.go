package node

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// Image says which files of the host stand in for a container image.
type Image struct {
	// What the image's name starts with. The longest that fits is taken.
	Prefix string `json:"prefix"`
	// Path in the container to path on the host.
	Files      map[string]string `json:"files"`
	Entrypoint []string          `json:"entrypoint"`
	Env        []string          `json:"env"`
	User       int64             `json:"user"`
	// The host's /usr too: a shell, tools.
	Host bool `json:"host"`
}

// Images is the file that lists them, read at each use: images can be added while a cluster runs.
type Images struct{ Path string }

func (i *Images) find(name string) (*Image, error) {
	bytes, err := os.ReadFile(i.Path)
	if err != nil {
		return nil, err
	}
	var all []Image
	if err := json.Unmarshal(bytes, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", i.Path, err)
	}
	var found *Image
	for index := range all {
		image := &all[index]
		if strings.HasPrefix(name, image.Prefix) && (found == nil || len(found.Prefix) < len(image.Prefix)) {
			found = image
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no files of the host stand in for image %s; add it to %s", name, i.Path)
	}
	return found, nil
}
