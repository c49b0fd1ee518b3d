package basetest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// libraries is the folder of Debian's libraries, as dpkg names it.
const libraries = "./usr/lib/x86_64-linux-gnu/"

// Library is a shared library for amd64 with nothing but its list of needed libraries.
func Library(needed ...string) string {
	names, dynamic := []byte{0}, []byte(nil)
	for _, n := range needed {
		dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(elf.DT_NEEDED))
		dynamic = binary.LittleEndian.AppendUint64(dynamic, uint64(len(names)))
		names = append(append(names, n...), 0)
	}
	dynamic = append(dynamic, make([]byte, 16)...) // DT_NULL
	const headerLen = 64
	head := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: headerLen + uint64(len(names)+len(dynamic)), Ehsize: headerLen, Shentsize: 64, Shnum: 3, Shstrndx: 1,
	}
	sections := []elf.Section64{{},
		{Type: uint32(elf.SHT_STRTAB), Off: headerLen, Size: uint64(len(names))},
		{Type: uint32(elf.SHT_DYNAMIC), Off: headerLen + uint64(len(names)), Size: uint64(len(dynamic)), Link: 1, Entsize: 16},
	}
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, head) // a buffer takes everything
	out.Write(names)
	out.Write(dynamic)
	_ = binary.Write(&out, binary.LittleEndian, sections)
	return out.String()
}

// Libc is a package in the shape of trixie's libc6: libraries beside modules and programs
// that a base layer leaves out.
func Libc(compression string) Deb {
	return Deb{Name: "libc6", Version: "2.41-12+deb13u4", Arch: "amd64", Compression: compression, Entries: []Entry{
		{Name: "./", Type: tar.TypeDir, Mode: 0o755},
		{Name: libraries, Type: tar.TypeDir, Mode: 0o755},
		{Name: "./etc/ld.so.conf.d/x86_64-linux-gnu.conf", Content: "/usr/lib/x86_64-linux-gnu\n"},
		{Name: libraries + "ld-linux-x86-64.so.2", Content: Library(), Mode: 0o755},
		{Name: libraries + "libc.so.6", Content: Library("ld-linux-x86-64.so.2"), Mode: 0o755},
		{Name: libraries + "libm.so.6", Content: Library("libc.so.6", "ld-linux-x86-64.so.2")},
		{Name: libraries + "libpcprofile.so", Content: Library("libc.so.6")},
		{Name: libraries + "gconv/UTF-16.so", Content: Library("libc.so.6")},
		{Name: libraries + "audit/sotruss-lib.so", Content: Library("libc.so.6")},
		{Name: "./usr/bin/tool", Content: "#!/bin/sh\n", Mode: 0o755},
		{Name: "./usr/share/doc/libc6/changelog.gz", Content: "old"},
		{Name: "./usr/share/doc/libc6/copyright", Content: "in `/usr/share/common-licenses/LGPL-2.1'.\nAnd /usr/share/common-licenses/GPL.\n"},
		{Name: "./usr/lib64/ld-linux-x86-64.so.2", Target: "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"},
	}}
}

// BaseFiles is a package in the shape of trixie's base-files: the release's name, and the
// licence texts that other packages refer to.
func BaseFiles() Deb {
	return Deb{Name: "base-files", Version: "13.8+deb13u7", Arch: "amd64", Compression: ".xz", Entries: []Entry{
		{Name: "./tmp/", Type: tar.TypeDir, Mode: 0o1777},
		{Name: "./etc/debian_version", Content: "13.7\n"},
		{Name: "./etc/issue", Content: "Debian\n"},
		{Name: "./usr/lib/os-release", Content: "ID=debian\nVERSION_ID=\"13\"\n"},
		{Name: "./etc/os-release", Target: "../usr/lib/os-release"},
		{Name: "./usr/share/common-licenses/LGPL-2.1", Content: "lesser"},
		{Name: "./usr/share/common-licenses/GPL-3", Content: "three"},
		{Name: "./usr/share/common-licenses/GPL", Target: "GPL-3"},
		{Name: "./usr/share/common-licenses/MPL-2.0", Content: "nobody asks"},
		{Name: "./usr/share/doc/base-files/copyright", Content: "public domain"},
	}}
}
