package node

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// liveVolume is a volume whose files follow objects: a Secret, a ConfigMap, a token.
type liveVolume struct {
	pod    *pod
	folder string
	source *corev1.Volume
	last   map[string]file
	tokens map[string]*token // by path
}

type file struct {
	bytes []byte
	mode  os.FileMode
}

// fill compares what should be there with what was last written and exchanges all files at once.
func (l *liveVolume) fill() error {
	files, err := l.files()
	if err != nil {
		return err
	}
	same := func(a, b file) bool { return a.mode == b.mode && bytes.Equal(a.bytes, b.bytes) }
	if l.last != nil && maps.EqualFunc(files, l.last, same) {
		return nil
	}
	if err := l.exchange(files); err != nil {
		return err
	}
	l.last = files
	return nil
}

// exchange writes a new folder and turns the link ..data to it: readers see all of it or nothing,
// which is what programs that watch mounted volumes rely on.
func (l *liveVolume) exchange(files map[string]file) error {
	data := filepath.Join(l.folder, "..data")
	before, _ := os.Readlink(data)
	name := "..rig_" + strconv.FormatInt(time.Now().UnixNano(), 10)
	if err := os.Mkdir(filepath.Join(l.folder, name), 0o755); err != nil {
		return err
	}
	for path, content := range files {
		at := filepath.Join(l.folder, name, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, content.bytes, content.mode); err != nil {
			return err
		}
		if err := l.pod.own(at, content.mode); err != nil {
			return err
		}
	}
	if err := os.Symlink(name, data+"_new"); err != nil {
		return err
	}
	if err := os.Rename(data+"_new", data); err != nil {
		return err
	}
	first := func(path string) string { return strings.SplitN(path, "/", 2)[0] }
	for path := range files {
		err := os.Symlink(filepath.Join("..data", first(path)), filepath.Join(l.folder, first(path)))
		if err != nil && !os.IsExist(err) {
			return err
		}
	}
	for path := range l.last {
		stays := slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(kept string) bool { return first(kept) == first(path) })
		if !stays {
			_ = os.Remove(filepath.Join(l.folder, first(path)))
		}
	}
	if before == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(l.folder, before))
}

func (l *liveVolume) files() (map[string]file, error) {
	files := map[string]file{}
	switch source := l.source; {
	case source.Secret != nil:
		from := source.Secret
		data, err := l.pod.secret(from.SecretName)
		return files, project(files, data, err, from.Items, from.DefaultMode, from.Optional)
	case source.ConfigMap != nil:
		from := source.ConfigMap
		data, err := l.pod.configMap(from.Name)
		return files, project(files, data, err, from.Items, from.DefaultMode, from.Optional)
	case source.DownwardAPI != nil:
		return files, l.downward(files, source.DownwardAPI.Items, source.DownwardAPI.DefaultMode)
	}
	mode := l.source.Projected.DefaultMode
	for _, source := range l.source.Projected.Sources {
		var err error
		switch {
		case source.Secret != nil:
			data, missing := l.pod.secret(source.Secret.Name)
			err = project(files, data, missing, source.Secret.Items, mode, source.Secret.Optional)
		case source.ConfigMap != nil:
			data, missing := l.pod.configMap(source.ConfigMap.Name)
			err = project(files, data, missing, source.ConfigMap.Items, mode, source.ConfigMap.Optional)
		case source.DownwardAPI != nil:
			err = l.downward(files, source.DownwardAPI.Items, mode)
		case source.ServiceAccountToken != nil:
			err = l.token(files, source.ServiceAccountToken)
		default:
			err = fmt.Errorf("this kind of projected source is not known to the rig")
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// project picks keys as `items` says, or all.
func project(files map[string]file, data map[string]string, err error, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	if err != nil {
		if isTrue(optional) && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	if items == nil {
		for key := range data {
			items = append(items, corev1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, there := data[item.Key]
		if !there {
			if isTrue(optional) {
				continue
			}
			return fmt.Errorf("key %s is not there", item.Key)
		}
		files[item.Path] = file{[]byte(value), fileMode(item.Mode, mode)}
	}
	return nil
}

func (l *liveVolume) downward(files map[string]file, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return fmt.Errorf("downwardAPI %s: only fieldRef is known to the rig", item.Path)
		}
		value, err := l.pod.field(item.FieldRef.FieldPath)
		if err != nil {
			return err
		}
		files[item.Path] = file{[]byte(value), fileMode(item.Mode, mode)}
	}
	return nil
}

// token keeps the one it has until most of its life is over.
func (l *liveVolume) token(files map[string]file, from *corev1.ServiceAccountTokenProjection) error {
	held := l.tokens[from.Path]
	if held == nil || l.pod.node.Tokens.stale(held) {
		fresh, err := l.pod.node.Tokens.get(l.pod, from)
		if err == nil {
			if l.tokens == nil {
				l.tokens = map[string]*token{}
			}
			l.tokens[from.Path] = fresh
			held = fresh
		} else if held == nil {
			return err
		}
		// Otherwise the API server does not answer: the old one may still be good.
	}
	mode := os.FileMode(0o644)
	if security := l.pod.spec.SecurityContext; security != nil && security.FSGroup != nil {
		mode = 0o600 // and the group's, by own
	}
	files[from.Path] = file{[]byte(held.text), mode}
	return nil
}

func fileMode(of, otherwise *int32) os.FileMode {
	for _, mode := range []*int32{of, otherwise} {
		if mode != nil {
			return os.FileMode(*mode)
		}
	}
	return 0o644
}
