package pack_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/plimsoll-oci/plimsoll/manifests/pack"
)

// field is text at an offset of otherwise zero bytes.
type field struct {
	at   int
	text string
}

// blocks lays fields into n zero blocks.
func blocks(n int, fields ...field) []byte {
	out := make([]byte, n*pack.Block)
	for _, f := range fields {
		copy(out[f.at:], f.text)
	}
	return out
}

// head lays the fields of one header block that starts at the given offset.
func head(at int, name, mode, size, sum, kind, target string) []field {
	return []field{
		{at, name},
		{at + 100, mode + "\x000000000\x000000000\x00" + size + "00000000000\x00" + sum + "\x00 " + kind + target},
		{at + 257, "ustar  \x00"},
	}
}

// The bytes below are those of GNU tar 1.34 for the same entries:
//
//	tar --format=gnu --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=… -cf - …
func TestHeaderGoldenBytes(t *testing.T) {
	name100 := strings.Repeat("d", 49) + "/" + strings.Repeat("f", 50)
	name101 := name100 + "f"
	name261 := strings.Repeat("a", 200) + "/" + strings.Repeat("b", 60)
	target := strings.Repeat("t", 150)
	model := "app/models/Qwen--Qwen-Image-Edit/vae/diffusion_pytorch_model.safetensors"
	cases := []struct {
		name  string
		entry pack.Entry
		want  []byte
	}{
		{
			"short name", pack.Entry{Name: "short", Type: pack.Regular, Mode: 0o644, Size: 5},
			blocks(1, head(0, "short", "0000644", "00000000005\x00", "006762", "0", "")...),
		},
		{
			"model file", pack.Entry{Name: model, Type: pack.Regular, Mode: 0o644, Size: 253806966},
			blocks(1, head(0, model, "0000644", "01710144566\x00", "023552", "0", "")...),
		},
		{
			"100 bytes fill the field without a NUL", pack.Entry{Name: name100, Type: pack.Regular, Mode: 0o644, Size: 1},
			blocks(1, head(0, name100, "0000644", "00000000001\x00", "031375", "0", "")...),
		},
		{
			"101 bytes", pack.Entry{Name: name101, Type: pack.Regular, Mode: 0o644, Size: 1},
			blocks(3, append(append(
				head(0, "././@LongLink", "0000644", "00000000146\x00", "007774", "L", ""),
				field{512, name101}), head(1024, name100, "0000644", "00000000001\x00", "031375", "0", "")...)...),
		},
		{
			"261 bytes", pack.Entry{Name: name261, Type: pack.Regular, Mode: 0o644, Size: 1},
			blocks(3, append(append(
				head(0, "././@LongLink", "0000644", "00000000406\x00", "007773", "L", ""),
				field{512, name261}), head(1024, name261[:100], "0000644", "00000000001\x00", "030642", "0", "")...)...),
		},
		{
			"part of 9.5 GB, in base 256", pack.Entry{Name: "big", Type: pack.Regular, Mode: 0o644, Size: 9462349824},
			blocks(1, head(0, "big", "0000644", "\x80\x00\x00\x00\x00\x00\x00\x02\x34\x00\x00\x00", "005625", "0", "")...),
		},
		{
			"directory", pack.Entry{Name: "dir", Type: pack.Directory, Mode: 0o755},
			blocks(1, head(0, "dir/", "0000755", "00000000000\x00", "006463", "5", "")...),
		},
		{
			"symlink", pack.Entry{Name: "slink", Type: pack.Symlink, Mode: 0o777, Target: "short"},
			blocks(1, head(0, "slink", "0000777", "00000000000\x00", "010027", "2", "short")...),
		},
		{
			"symlink with a long target", pack.Entry{Name: "link", Type: pack.Symlink, Mode: 0o777, Target: target},
			blocks(3, append(append(
				head(0, "././@LongLink", "0000644", "00000000227\x00", "007773", "K", ""),
				field{512, target}), head(1024, "link", "0000777", "00000000000\x00", "035304", "2", target[:100])...)...),
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := pack.Header(c.entry)
			require.NoError(t, err)
			require.Equal(t, len(c.want), len(got))
			for i := range c.want {
				if c.want[i] != got[i] {
					end := min(i+40, len(got))
					t.Fatalf("at byte %d: want %q, got %q", i, c.want[i:end], got[i:end])
				}
			}
		})
	}
}

func TestHeaderIsReadByArchiveTar(t *testing.T) {
	for _, n := range []int{1, 99, 100, 101, 155, 254, 255, 256, 257, 511, 512, 513, 3000} {
		for _, size := range []int64{0, 1, 511, 512, 1<<33 - 1, 1 << 33, 9_462_349_824, 1 << 40, pack.MaxSize} {
			name := strings.Repeat("n", n)
			header, err := pack.Header(pack.Entry{Name: name, Type: pack.Regular, Mode: 0o644, Size: size})
			require.NoError(t, err)
			// Next reads the header and nothing of the content.
			got, err := tar.NewReader(bytes.NewReader(header)).Next()
			require.NoError(t, err, "name of %d bytes, size %d", n, size)
			require.Equal(t, name, got.Name)
			require.Equal(t, size, got.Size)
			require.Equal(t, int64(0o644), got.Mode)
			require.Equal(t, byte(tar.TypeReg), got.Typeflag)
			require.Equal(t, tar.FormatGNU, got.Format)
			require.Zero(t, got.ModTime.Unix())
			require.Zero(t, got.Uid+got.Gid)
			require.Empty(t, got.Uname+got.Gname+got.Linkname)
			require.Empty(t, got.PAXRecords)
		}
	}
}

func TestArchiveOfSeveralEntriesIsReadByArchiveTar(t *testing.T) {
	entries := []pack.Entry{
		{Name: "etc", Type: pack.Directory, Mode: 0o755},
		{Name: "tmp", Type: pack.Directory, Mode: 0o1777},
		{Name: "etc/empty", Type: pack.Regular, Mode: 0o644},
		{Name: "etc/" + strings.Repeat("n", 120), Type: pack.Regular, Mode: 0o755, Size: 700},
		{Name: strings.Repeat("d", 150), Type: pack.Directory, Mode: 0o755},
		{Name: "lib64", Type: pack.Symlink, Mode: 0o777, Target: "usr/lib64"},
		{Name: strings.Repeat("l", 150), Type: pack.Symlink, Mode: 0o777, Target: "/" + strings.Repeat("t", 200)},
	}
	var archive bytes.Buffer
	for i, e := range entries {
		header, err := pack.Header(e)
		require.NoError(t, err)
		archive.Write(header)
		archive.Write(bytes.Repeat([]byte{byte(i + 1)}, int(e.Size)))
		archive.Write(make([]byte, pack.PadLen(e.Size)))
	}
	archive.Write(pack.Trailer())
	reader := tar.NewReader(&archive)
	for i, want := range entries {
		got, err := reader.Next()
		require.NoError(t, err)
		if want.Type == pack.Directory {
			want.Name += "/"
		}
		require.Equal(t, want, pack.Entry{Name: got.Name, Type: pack.Type(got.Typeflag), Mode: got.Mode, Size: got.Size, Target: got.Linkname})
		content, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte{byte(i + 1)}, int(want.Size)), append([]byte{}, content...))
	}
	_, err := reader.Next()
	require.ErrorIs(t, err, io.EOF)
}

func TestHeaderRefuses(t *testing.T) {
	cases := []struct {
		entry pack.Entry
		want  string
	}{
		{pack.Entry{Type: pack.Regular}, `packing "": the name is empty`},
		{pack.Entry{Name: ".", Type: pack.Directory}, `packing ".": the name is empty`},
		{pack.Entry{Name: "/etc/passwd", Type: pack.Regular}, `packing "/etc/passwd": the name is absolute`},
		{pack.Entry{Name: "../x", Type: pack.Regular}, `packing "../x": the name is not clean, "../x" is`},
		{pack.Entry{Name: "..", Type: pack.Directory}, `packing "..": the name is not clean, ".." is`},
		{pack.Entry{Name: "a/../b", Type: pack.Regular}, `packing "a/../b": the name is not clean, "b" is`},
		{pack.Entry{Name: "a//b", Type: pack.Regular}, `packing "a//b": the name is not clean, "a/b" is`},
		{pack.Entry{Name: "dir/", Type: pack.Directory}, `packing "dir/": the name is not clean, "dir" is`},
		{pack.Entry{Name: "a\x00b", Type: pack.Regular}, `packing "a\x00b": the name holds a NUL or a backslash`},
		{pack.Entry{Name: `a\b`, Type: pack.Regular}, `packing "a\\b": the name holds a NUL or a backslash`},
		{pack.Entry{Name: "a", Type: 'L'}, `writing a tar header for a: type 'L' is none of file, directory and symlink`},
		{pack.Entry{Name: "a"}, `writing a tar header for a: type '\x00' is none of file, directory and symlink`},
		{pack.Entry{Name: "a", Type: pack.Regular, Size: -1}, "writing a tar header for a: size -1 is not possible for type 0"},
		{pack.Entry{Name: "a", Type: pack.Directory, Size: 1}, "writing a tar header for a: size 1 is not possible for type 5"},
		{pack.Entry{Name: "a", Type: pack.Symlink}, `writing a tar header for a: target "" is not possible for type 2`},
		{pack.Entry{Name: "a", Type: pack.Symlink, Target: "x\x00y"}, `writing a tar header for a: target "x\x00y" is not possible for type 2`},
		{pack.Entry{Name: "a", Type: pack.Regular, Target: "b"}, `writing a tar header for a: target "b" is not possible for type 0`},
		{pack.Entry{Name: "a", Type: pack.Regular, Mode: 0o100644}, "writing a tar header for a: mode 100644 has more than permission bits"},
		{pack.Entry{Name: "a", Type: pack.Regular, Mode: -1}, "writing a tar header for a: mode -1 has more than permission bits"},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%+v", c.entry), func(t *testing.T) {
			_, err := pack.Header(c.entry)
			require.EqualError(t, err, c.want)
		})
	}
}

func TestPadding(t *testing.T) {
	for length, pad := range map[int64]int64{0: 0, 1: 511, 511: 1, 512: 0, 513: 511, 12_654_443_144: 376} {
		require.Equal(t, pad, pack.PadLen(length), length)
		require.Equal(t, pad+1024, pack.SuffixLen(length), length)
	}
	require.Equal(t, make([]byte, 1024), pack.Trailer())
}
