// Package container starts a process in namespaces of its own: network, mounts, processes and
// host name, with a root that has only what its image and volumes say, as the user and with the
// capabilities that its securityContext says. There is no image: files of the host stand in.
package container

// Spec is everything that the process inside needs to make its surroundings and become the
// container. It travels as JSON through a pipe.
type Spec struct {
	Root      string   // a folder of the host; becomes /
	ReadOnly  bool     // readOnlyRootFilesystem
	Host      bool     // the host's /usr, so that there are a shell and tools
	Mounts    []Mount  // files of the image and volumes, in the order they are made
	Hostname  string   //
	Arguments []string // the first is looked up on the PATH of Env
	Env       []string
	Folder    string // working directory
	User      int    // runAsUser; 0 is root
	Group     int    // runAsGroup
	Groups    []int  // fsGroup and supplementalGroups
	// Capabilities that stay in the bounding set, as numbers.
	Capabilities []uintptr
	NoNewPrivs   bool // allowPrivilegeEscalation: false
	// Whether users other than root can be had: not in a user namespace with one id.
	Users bool
}

// Mount makes a file or folder of the host visible in the container.
type Mount struct {
	From, To string
	ReadOnly bool
}
