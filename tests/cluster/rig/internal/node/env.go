package node

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/fieldpath"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// environment is a container's, with $(NAME) in values and arguments replaced.
type environment struct {
	list   []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	e.values[name] = value
	e.list = append(e.list, name+"="+value)
}

func (e *environment) expand(text string) string {
	return expansion.Expand(text, expansion.MappingFuncFor(e.values))
}

func (r *runner) environment(image *Image) (*environment, error) {
	env := &environment{values: map[string]string{}}
	env.list = append(env.list, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME="+r.pod.name)
	env.list = append(env.list, image.Env...)
	env.set("KUBERNETES_SERVICE_HOST", apiAddress)
	env.set("KUBERNETES_SERVICE_PORT", "443")
	env.set("KUBERNETES_SERVICE_PORT_HTTPS", "443")
	for _, from := range r.spec.EnvFrom {
		if err := r.envFrom(env, from); err != nil {
			return nil, err
		}
	}
	for _, variable := range r.spec.Env {
		value, given, err := r.value(variable, env)
		if err != nil {
			return nil, fmt.Errorf("env %s: %w", variable.Name, err)
		}
		if given {
			env.set(variable.Name, value)
		}
	}
	return env, nil
}

// apiAddress is the ClusterIP of Service default/kubernetes: the first of the range.
const apiAddress = "10.96.0.1"

func (r *runner) envFrom(env *environment, from corev1.EnvFromSource) error {
	var data map[string]string
	var err error
	optional := false
	switch {
	case from.ConfigMapRef != nil:
		optional = isTrue(from.ConfigMapRef.Optional)
		data, err = r.pod.configMap(from.ConfigMapRef.Name)
	case from.SecretRef != nil:
		optional = isTrue(from.SecretRef.Optional)
		data, err = r.pod.secret(from.SecretRef.Name)
	}
	if err != nil && !optional {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		env.set(from.Prefix+name, data[name])
	}
	return nil
}

func (r *runner) value(variable corev1.EnvVar, env *environment) (value string, given bool, err error) {
	from := variable.ValueFrom
	switch {
	case from == nil:
		return env.expand(variable.Value), true, nil
	case from.FieldRef != nil:
		value, err = r.pod.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err = r.resource(from.ResourceFieldRef)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		data, err := r.pod.configMap(from.ConfigMapKeyRef.Name)
		return pick(data, err, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		data, err := r.pod.secret(from.SecretKeyRef.Name)
		return pick(data, err, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
	}
	return "", false, fmt.Errorf("this kind of valueFrom is not known to the rig")
}

func pick(data map[string]string, err error, key string, optional *bool) (string, bool, error) {
	value, there := data[key]
	if err == nil && !there {
		err = fmt.Errorf("key %s is not there", key)
	}
	if err != nil && isTrue(optional) {
		return "", false, nil
	}
	return value, err == nil, err
}

// field is what the downward API gives for a path.
func (p *pod) field(path string) (string, error) {
	object := p.seen()
	switch path {
	case "status.podIP", "status.podIPs":
		return p.address.String(), nil
	case "status.hostIP", "status.hostIPs":
		return p.node.Address.String(), nil
	case "spec.nodeName":
		return object.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return object.Spec.ServiceAccountName, nil
	}
	return fieldpath.ExtractFieldPathAsString(object, path)
}

// resource is a request or limit of this container, in units of the divisor.
func (r *runner) resource(from *corev1.ResourceFieldSelector) (string, error) {
	var kind, name string
	for _, prefix := range []string{"limits.", "requests."} {
		if len(from.Resource) > len(prefix) && from.Resource[:len(prefix)] == prefix {
			kind, name = prefix, from.Resource[len(prefix):]
		}
	}
	if kind == "" {
		return "", fmt.Errorf("resourceFieldRef %s is not known to the rig", from.Resource)
	}
	list := r.spec.Resources.Limits
	if kind == "requests." {
		list = r.spec.Resources.Requests
	}
	quantity, there := list[corev1.ResourceName(name)]
	if !there {
		// As much as the node has.
		quantity = r.pod.node.status().Allocatable[corev1.ResourceName(name)]
	}
	divisor := from.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	units := (quantity.MilliValue() + divisor.MilliValue() - 1) / divisor.MilliValue()
	return fmt.Sprint(units), nil
}

func (p *pod) configMap(name string) (map[string]string, error) {
	object, err := p.node.Informers.Core().V1().ConfigMaps().Lister().ConfigMaps(p.namespace).Get(name)
	if err != nil {
		return nil, err
	}
	data := maps.Clone(object.Data)
	if data == nil {
		data = map[string]string{}
	}
	for key, bytes := range object.BinaryData {
		data[key] = string(bytes)
	}
	return data, nil
}

func (p *pod) secret(name string) (map[string]string, error) {
	object, err := p.node.Informers.Core().V1().Secrets().Lister().Secrets(p.namespace).Get(name)
	if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, bytes := range object.Data {
		data[key] = string(bytes)
	}
	return data, nil
}

func isTrue(value *bool) bool { return value != nil && *value }
