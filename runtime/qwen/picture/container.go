package picture

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// maxScans is how many scans a JPEG may have. Encoders write up to some tens; every scan of
// a few bytes costs the decoder a pass over all pixels, which makes their number a weapon.
const maxScans = 100

// container is what is read of a file beside its pixels.
type container struct {
	exif []byte // as it lies in the file
	// grey16 is true for a PNG of 16-bit grey without alpha.
	grey16 bool
}

// readJPEG walks a JPEG's segments. The pieces of EXIF before the first scan are joined.
func readJPEG(data []byte) (c container, err error) {
	rest, scans := data[2:], 0
	for {
		i := bytes.IndexByte(rest, 0xff)
		if i < 0 || i+1 >= len(rest) {
			return c, fmt.Errorf("the file of %d bytes ends before the picture does", len(data))
		}
		marker := rest[i+1]
		if marker == 0xff { // a fill byte
			rest = rest[i+1:]
			continue
		}
		rest = rest[i+2:]
		switch {
		case marker == eoi:
			return c, nil
		case marker == 0 || marker == tem || marker >= rst0 && marker <= soi:
			continue // data, or a marker alone
		}
		n := 0
		if len(rest) >= 2 {
			n = int(binary.BigEndian.Uint16(rest))
		}
		if n < 2 || n > len(rest) {
			return c, fmt.Errorf("segment %#x at byte %d is %d bytes long, of the file %d are left", marker, len(data)-len(rest)-2, n, len(rest))
		}
		if body := rest[2:n]; marker == app1 && scans == 0 && bytes.HasPrefix(body, []byte(exifPrefix)) {
			c.exif = append(c.exif, body[min(len(c.exif), 1)*len(exifPrefix):]...)
		}
		if marker == sos {
			if scans++; scans > maxScans {
				return c, fmt.Errorf("more than %d scans: %w", maxScans, ErrLimit)
			}
		}
		rest = rest[n:]
	}
}

// readPNG walks a PNG's chunks to its end.
func readPNG(data []byte) (c container, err error) {
	rest := data[len(pngMagic):]
	for len(rest) >= 12 {
		n, name := uint64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if n+12 > uint64(len(rest)) {
			return c, fmt.Errorf("chunk %q at byte %d is %d bytes long, of the file %d are left", name, len(data)-len(rest), n, len(rest)-8)
		}
		body := rest[8:][:n]
		switch {
		case name == "IHDR" && n == 13:
			c.grey16 = body[8] == 16 && body[9] == 0 // depth, colour type
		case name == "eXIf":
			c.exif = body
		case name == "IEND":
			return c, nil
		}
		rest = rest[n+12:]
	}
	return c, fmt.Errorf("the file of %d bytes ends before the picture does", len(data))
}

// readWEBP walks a WEBP's chunks. EXIF counts where the header announces it, as in libwebp.
func readWEBP(data []byte) (c container, err error) {
	const animated, hasEXIF = 1 << 1, 1 << 3 // flags of VP8X
	size := uint64(binary.LittleEndian.Uint32(data[4:])) + 8
	if size > uint64(len(data)) {
		return c, fmt.Errorf("the file has %d bytes, its header says %d", len(data), size)
	}
	rest, announced := data[min(12, size):size], false
	for len(rest) >= 8 {
		name, n := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:]))
		if n+8 > uint64(len(rest)) {
			return c, fmt.Errorf("chunk %q is %d bytes long, of the file %d are left", name, n, len(rest)-8)
		}
		body := rest[8:][:n]
		switch {
		case name == "VP8X" && n == 10:
			announced = body[0]&hasEXIF != 0
			if body[0]&animated != 0 {
				return c, fmt.Errorf("it is an animation: %w", ErrFormat)
			}
		case name == "EXIF" && announced && c.exif == nil:
			c.exif = body
		}
		rest = rest[min(8+n+n%2, uint64(len(rest))):]
	}
	return c, nil
}
