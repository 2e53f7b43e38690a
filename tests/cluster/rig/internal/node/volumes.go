package node

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// volumes are a pod's: folders made before it starts, and those refreshed while it runs.
type volumes struct {
	pod     *pod
	mounted []string
	live    []*liveVolume
}

// prepare makes what is not there yet; called again after an error.
func (v *volumes) prepare() error {
	for index := range v.pod.spec.Volumes {
		volume := &v.pod.spec.Volumes[index]
		if err := v.make(volume); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

func (v *volumes) make(volume *corev1.Volume) error {
	folder := v.pod.folder("volumes", volume.Name)
	_, missing := os.Stat(folder)
	switch {
	case volume.HostPath != nil:
		return nil
	case volume.EmptyDir != nil:
		if missing == nil {
			return nil
		}
		return v.empty(folder, volume.EmptyDir)
	case volume.Secret != nil, volume.ConfigMap != nil, volume.Projected != nil, volume.DownwardAPI != nil:
		return v.filled(folder, volume, missing != nil)
	}
	return fmt.Errorf("this kind of volume is not known to the rig")
}

func (v *volumes) empty(folder string, source *corev1.EmptyDirVolumeSource) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if source.Medium == corev1.StorageMediumMemory {
		options := "mode=777"
		if source.SizeLimit != nil {
			options += fmt.Sprintf(",size=%d", source.SizeLimit.Value())
		}
		if err := v.memory(folder, options); err != nil {
			return err
		}
	}
	return v.pod.own(folder, 0o777)
}

func (v *volumes) filled(folder string, volume *corev1.Volume, missing bool) error {
	if missing {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		// As the kubelet keeps them: not on a disk.
		if err := v.memory(folder, "mode=755,size=16m"); err != nil {
			return err
		}
	}
	for _, known := range v.live {
		if known.folder == folder {
			return nil
		}
	}
	live := &liveVolume{pod: v.pod, folder: folder, source: volume}
	if err := live.fill(); err != nil {
		return err
	}
	v.live = append(v.live, live)
	return nil
}

func (v *volumes) memory(folder, options string) error {
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return err
	}
	v.mounted = append(v.mounted, folder)
	return nil
}

// refresh keeps contents as their objects are, until the end.
func (v *volumes) refresh(until context.Context) {
	for {
		select {
		case <-until.Done():
			return
		case <-time.After(refresh):
		}
		for _, live := range v.live {
			if err := live.fill(); err != nil && until.Err() == nil {
				log.Printf("%s/%s volume %s stays as it was: %v", v.pod.namespace, v.pod.name, live.source.Name, err)
			}
		}
	}
}

func (v *volumes) remove() {
	for _, folder := range v.mounted {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			log.Printf("%s: %v", folder, err)
		}
	}
}

// mountSource gives what of the host a volumeMount shows, and whether it is read only.
func (p *pod) mountSource(mount corev1.VolumeMount, env *environment) (string, bool, error) {
	for _, volume := range p.spec.Volumes {
		if volume.Name != mount.Name {
			continue
		}
		from := p.folder("volumes", volume.Name)
		if volume.HostPath != nil {
			from = volume.HostPath.Path
		}
		below := mount.SubPath
		if mount.SubPathExpr != "" {
			below = env.expand(mount.SubPathExpr)
		}
		from = filepath.Join(from, below)
		contents := volume.Secret != nil || volume.ConfigMap != nil || volume.Projected != nil || volume.DownwardAPI != nil
		if below != "" && !contents {
			if err := os.MkdirAll(from, 0o777); err != nil {
				return "", false, err
			}
		}
		return from, mount.ReadOnly || contents, nil
	}
	return "", false, fmt.Errorf("volumeMounts names volume %s, which the pod has not", mount.Name)
}

// own gives a folder or file to the pod's fsGroup, as far as there are other groups.
func (p *pod) own(path string, mode os.FileMode) error {
	if security := p.spec.SecurityContext; security != nil && security.FSGroup != nil && p.node.Users {
		if err := os.Lchown(path, 0, int(*security.FSGroup)); err != nil {
			return err
		}
		mode |= 0o060
		if mode&0o111 != 0 {
			mode |= os.ModeSetgid | 0o010
		}
	}
	return os.Chmod(path, mode)
}
