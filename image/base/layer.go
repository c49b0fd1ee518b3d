package base

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/archive"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// UID and GID are user and group of the process in the image, by the name nonroot.
const (
	UID = 65532
	GID = 65532
)

const (
	// debianVersion tells Debian from others. Beside scanners, NVIDIA's container toolkit
	// looks for it: without it libcuda is put into usr/lib64, where Debian's loader does
	// not search (libnvidia-container, nvc_container.c; nvidia-container-toolkit,
	// internal/ldconfig).
	debianVersion  = "etc/debian_version"
	osRelease      = "etc/os-release"
	commonLicenses = "usr/share/common-licenses/"
	statusDir      = "var/lib/dpkg/status.d/"
)

// own are the entries that no package brings.
func own() []archive.File {
	text := func(name, content string) archive.File { return archive.Regular(name, 0o644, []byte(content)) }
	return []archive.File{
		text("etc/passwd", fmt.Sprintf("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/tmp:/sbin/nologin\n", UID, GID)),
		text("etc/group", fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", GID)),
		text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"),
		// As libc-bin has it. ldconfig, run by GPU container hooks, finds libcuda's folder
		// through it.
		text("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n"),
		archive.Directory("tmp", 0o1777),
		// Mount points, so that a runtime need not write to the root.
		archive.Directory("dev", 0o755),
		archive.Directory("proc", 0o555),
		archive.Directory("run", 0o755),
		archive.Directory("sys", 0o555),
	}
}

// Layer returns the base layer of the packages and of further files, such as licence
// texts, as an uncompressed tar. It is a function of the packages' bytes and of files;
// order does not matter.
//
// Each .deb is read once and verified again. Errors: of kind Invalid for a package that
// is not what its lock line says or that is broken; of kind Usage, with a hint where
// there is one, where the parts do not make a whole: no release name, a library or a
// licence text missing, a name there twice (archive.ErrDuplicate).
func Layer(debs []Deb, files []archive.File) ([]byte, error) {
	var all []archive.File
	for _, d := range debs {
		c, err := read(d)
		if err != nil {
			return nil, fmt.Errorf("adding %s %s to the base layer: %w", d.Name, d.Version, err)
		}
		all = append(append(all, c.files...), archive.Regular(statusDir+d.Name, 0o644, c.control))
	}
	all = append(append(usedLicences(all), own()...), files...)
	all = append(all, mergedLinks(all)...)
	var a archive.Archive
	err := a.Add(all...)
	if err == nil {
		err = prove(&a, debs)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Usage, "", fmt.Errorf("putting the base layer together: %w", err))
	}
	return a.Bytes()
}

// read verifies a .deb and takes the selected files out of it.
func read(d Deb) (contents, error) {
	if err := checkPackage(d.Package); err != nil {
		return contents{}, err
	}
	data, err := readFile(d.File, d.Size)
	if err != nil {
		return contents{}, err
	}
	if err := (want{size: d.Size, sum: d.SHA256}).check(data); err != nil {
		return contents{}, fault.Wrap(fault.Invalid, "delete the file and run again", fmt.Errorf("verifying %s: %w", d.File, err))
	}
	c, err := unpack(data, func(name string) bool { return selected(d.Name, name) })
	if err == nil {
		err = checkControl(c.control, d)
	}
	return c, fault.Wrap(fault.Invalid, "", err)
}

// readFile reads a file, but not more than one byte over the size that it should have.
func readFile(name string, size int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, size+1))
}

// checkControl compares what a package says of itself with its lock line.
func checkControl(control []byte, d Deb) error {
	s, err := readStanza(bytes.NewReader(control))
	if err != nil {
		return err
	}
	got := [3]string{s["package"], s["version"], s["architecture"]}
	if locked := [3]string{d.Name, d.Version, d.Arch}; got != locked {
		return fmt.Errorf("checking the control file: it is of %q, the lock says %q", got, locked)
	}
	return nil
}

// mergedLinks returns the top-level links for those folders of usr that the layer has: the
// loader's path /lib64/ld-linux-x86-64.so.2 is compiled into every binary.
func mergedLinks(files []archive.File) []archive.File {
	var out []archive.File
	for _, dir := range usrDirs {
		if slices.ContainsFunc(files, func(f archive.File) bool { return within("usr/"+dir, f.Name) }) {
			out = append(out, archive.Symlink(dir, "usr/"+dir))
		}
	}
	return out
}

// within reports whether name lies below dir.
func within(dir, name string) bool { return strings.HasPrefix(name, dir+"/") }
