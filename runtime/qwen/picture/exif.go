package picture

import "encoding/binary"

// Facts of EXIF (CIPA DC-008) and of TIFF 6.0, whose form it has.
const (
	orientationTag = 0x0112
	entrySize      = 12
	maxEntries     = 4096 // of one directory; cameras write tens
)

// upright is the orientation of a picture that says nothing.
const upright = 1

// orientation returns the EXIF orientation, 1 to 8, of a TIFF structure that may have the
// prefix "Exif\0\0". What is broken, missing or no orientation is upright: a picture is not
// refused for the notes that a camera or an editor left in it. Where the tag occurs twice
// the last one counts, as in Pillow.
func orientation(exif []byte) int {
	for len(exif) >= 6 && string(exif[:6]) == exifPrefix {
		exif = exif[6:]
	}
	order := byteOrder(exif)
	if order == nil {
		return upright
	}
	start := uint64(order.Uint32(exif[4:]))
	if start+2 > uint64(len(exif)) {
		return upright
	}
	entries := min(int(order.Uint16(exif[start:])), maxEntries)
	rest, found := exif[start+2:], upright
	for range entries {
		if len(rest) < entrySize {
			break
		}
		if order.Uint16(rest) == orientationTag {
			found = value(rest, exif, order)
		}
		rest = rest[entrySize:]
	}
	if found < 1 || found > 8 {
		return upright
	}
	return found
}

// exifPrefix stands before the TIFF structure in JPEG, and in other formats by mistake.
const exifPrefix = "Exif\x00\x00"

// byteOrder reads the first bytes of a TIFF structure; nil if it is none.
func byteOrder(exif []byte) binary.ByteOrder {
	if len(exif) < 8 {
		return nil
	}
	switch string(exif[:4]) {
	case "II*\x00":
		return binary.LittleEndian
	case "MM\x00*":
		return binary.BigEndian
	}
	return nil
}

// value is the first integer of an entry, 0 if it holds none. Values of four bytes and less
// lie in the entry, longer lists elsewhere in the structure.
func value(entry, exif []byte, order binary.ByteOrder) int {
	const short, long, signedShort, signedLong = 3, 4, 8, 9 // field types
	width := uint64(2)
	kind, count, data := order.Uint16(entry[2:]), uint64(order.Uint32(entry[4:])), entry[8:12]
	switch kind {
	case short, signedShort:
	case long, signedLong:
		width = 4
	default:
		return 0
	}
	if size := count * width; size > 4 {
		at := uint64(order.Uint32(data))
		if at+size > uint64(len(exif)) {
			return 0
		}
		data = exif[at:]
	}
	switch {
	case count == 0:
		return 0
	case width == 2:
		return int(order.Uint16(data))
	}
	return int(order.Uint32(data))
}
