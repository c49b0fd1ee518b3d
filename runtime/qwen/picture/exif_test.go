package picture

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// ifd writes a TIFF structure of one directory; entries are tag, type, count, value.
func ifd(order binary.AppendByteOrder, magic string, entries ...[4]uint32) []byte {
	b := order.AppendUint32([]byte(magic), 8)
	b = order.AppendUint16(b, uint16(len(entries)))
	for _, e := range entries {
		b = order.AppendUint16(order.AppendUint16(b, uint16(e[0])), uint16(e[1]))
		b = order.AppendUint32(b, e[2])
		if e[1] == 3 && e[2] <= 2 { // a short stands at the left of its four bytes
			b = append(order.AppendUint16(b, uint16(e[3])), 0, 0)
			continue
		}
		b = order.AppendUint32(b, e[3])
	}
	return order.AppendUint32(b, 0)
}

var (
	little, big = binary.LittleEndian, binary.BigEndian
	six         = [4]uint32{orientationTag, 3, 1, 6}
)

func TestOrientation(t *testing.T) {
	away := ifd(big, "MM\x00*", [4]uint32{orientationTag, 3, 3, 26}) // three shorts behind the directory
	for name, c := range map[string]struct {
		exif []byte
		want int
	}{
		"nothing":               {nil, 1},
		"little end first":      {ifd(little, "II*\x00", six), 6},
		"big end first":         {ifd(big, "MM\x00*", six), 6},
		"prefix":                {append([]byte(exifPrefix), ifd(big, "MM\x00*", six)...), 6},
		"prefix twice":          {append([]byte(exifPrefix+exifPrefix), ifd(big, "MM\x00*", six)...), 6},
		"long":                  {ifd(little, "II*\x00", [4]uint32{orientationTag, 4, 1, 8}), 8},
		"behind another":        {ifd(little, "II*\x00", [4]uint32{0x10f, 2, 4, 0}, six), 6},
		"twice":                 {ifd(little, "II*\x00", six, [4]uint32{orientationTag, 3, 1, 3}), 3},
		"text":                  {ifd(little, "II*\x00", [4]uint32{orientationTag, 2, 1, 6}), 1},
		"no values":             {ifd(little, "II*\x00", [4]uint32{orientationTag, 3, 0, 6}), 1},
		"nine":                  {ifd(little, "II*\x00", [4]uint32{orientationTag, 3, 1, 9}), 1},
		"zero":                  {ifd(little, "II*\x00", [4]uint32{orientationTag, 3, 1, 0}), 1},
		"orders mixed":          {ifd(little, "MM\x00*", six), 1},
		"magic":                 {ifd(little, "II+\x00", six), 1},
		"list elsewhere":        {append(away, 0, 5, 0, 0, 0, 0), 5},
		"list cut":              {append(away, 0, 5, 0, 0, 0), 1},
		"list far away":         {ifd(big, "MM\x00*", [4]uint32{orientationTag, 3, 1 << 31, 1<<32 - 1}), 1},
		"directory far away":    {[]byte("II*\x00\xff\xff\xff\xff"), 1},
		"cut in the entry":      {ifd(little, "II*\x00", six)[:20], 1},
		"cut behind the entry":  {ifd(little, "II*\x00", six)[:22], 6},
		"more entries promised": {append([]byte("II*\x00\x08\x00\x00\x00\xff\xff"), ifd(little, "II*\x00", six)[10:22]...), 6},
	} {
		require.Equal(t, c.want, orientation(c.exif), name)
	}
}

// FuzzOrientation: any bytes have an orientation.
func FuzzOrientation(f *testing.F) {
	f.Add(ifd(little, "II*\x00", six))
	f.Add(append([]byte(exifPrefix), ifd(big, "MM\x00*", [4]uint32{orientationTag, 4, 2, 26})...))
	f.Fuzz(func(t *testing.T, exif []byte) {
		before := bytes.Clone(exif)
		o := orientation(exif)
		require.True(t, o >= 1 && o <= 8, o)
		require.Equal(t, before, exif)
	})
}

// TestTurned: each orientation followed by the one that undoes it is the picture.
func TestTurned(t *testing.T) {
	p := &RGB{W: 3, H: 2, Pix: []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}}
	for o, back := range map[int]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6} {
		require.Equal(t, p, p.turned(o).turned(back), o)
		if o != 1 {
			require.NotEqual(t, p, p.turned(o), o)
		}
	}
	require.Equal(t, []uint8{9, 10, 11, 0, 1, 2, 12, 13, 14, 3, 4, 5, 15, 16, 17, 6, 7, 8}, p.turned(6).Pix)
}
