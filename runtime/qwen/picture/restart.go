package picture

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"slices"
	"sync/atomic"
)

// decodeJPEG is jpeg.Decode. Where a JPEG has restart markers between its rows of MCUs, as those
// that JPEG writes have and some cameras' do, pieces of it are decoded side by side: nothing
// behind a restart marker depends on what is before it. Planes are equal to those of
// jpeg.Decode, which has the word alone wherever something is unusual.
func decodeJPEG(data []byte) (image.Image, error) {
	if f, ok := findIntervals(data); ok {
		if m := f.decode(); m != nil {
			return m, nil
		}
	}
	return jpeg.Decode(bytes.NewReader(data))
}

// intervals is a JPEG of one scan of three components, taken apart.
type intervals struct {
	// head is what a decoder needs of all before the scan; height, in it, is where SOF0 has the
	// picture's height. scan is the header of the scan.
	head, scan []byte
	height     int
	w, h       int
	// rows of pixels are in an interval, but for the last; data are those of each.
	rows int
	data [][]byte
}

// findIntervals takes a JPEG apart. ok is false for one of another kind, or one that is broken.
func findIntervals(data []byte) (f *intervals, ok bool) {
	f = &intervals{head: []byte{0xff, soi}}
	interval := 0 // of restart, in MCUs
	for at := 2; at+4 <= len(data) && data[at] == 0xff; {
		marker, length := data[at+1], 2+int(binary.BigEndian.Uint16(data[at+2:]))
		if length < 4 || at+length > len(data) {
			return nil, false
		}
		segment := data[at : at+length]
		switch {
		case marker == sos:
			f.scan = segment
			return f, f.cut(data[at+length:], interval)
		case marker == sof0 && f.height == 0:
			f.height = len(f.head) + 5 // behind marker, length and precision
		case marker == dri && length == 6:
			interval = int(binary.BigEndian.Uint16(segment[4:]))
		case marker == dht || marker == dqt || marker == app0 || marker == app14:
		case marker > app0 && marker < app14 || marker == app15 || marker == com:
			segment = nil // nothing that a decoder looks at
		default:
			return nil, false
		}
		f.head = append(f.head, segment...)
		at += length
	}
	return nil, false
}

// scanHeader is the length of the header of a scan of three components, with its marker.
const scanHeader = 4 + 1 + 2*3 + 3

// cut reads the frame and cuts the scan's data at their restart markers, which have to be those
// that the frame asks for, up to the end of the picture.
func (f *intervals) cut(data []byte, interval int) bool {
	mcuW, mcuH, ok := f.frame()
	if !ok || interval == 0 || len(f.scan) != scanHeader || f.scan[4] != 3 {
		return false
	}
	across := (f.w + mcuW - 1) / mcuW
	if interval%across != 0 {
		return false
	}
	f.rows = interval / across * mcuH
	for start, at := 0, 0; ; {
		i := bytes.IndexByte(data[at:], 0xff)
		if i < 0 || at+i+1 >= len(data) {
			return false
		}
		at += i
		switch marker := data[at+1]; {
		case marker == 0:
			at += 2
		case marker == eoi || marker == rst0+byte(len(f.data)%8):
			f.data = append(f.data, data[start:at])
			at += 2
			if start = at; marker == eoi {
				return len(f.data) == (f.h+f.rows-1)/f.rows
			}
		default:
			return false
		}
	}
}

// frame reads SOF0: the picture's size and the MCUs'.
func (f *intervals) frame() (mcuW, mcuH int, ok bool) {
	if f.height == 0 || len(f.head) < f.height+5+3*3 || f.head[f.height+4] != 3 {
		return 0, 0, false
	}
	s := f.head[f.height:]
	f.h, f.w = int(binary.BigEndian.Uint16(s)), int(binary.BigEndian.Uint16(s[2:]))
	for c := range 3 {
		factors := s[5+3*c+1]
		mcuW, mcuH = max(mcuW, 8*int(factors>>4)), max(mcuH, 8*int(factors&15))
	}
	return mcuW, mcuH, f.h > 0 && f.w > 0 && mcuW > 0 && mcuH > 0
}

// decode decodes shares of the intervals and joins them; nil if one is broken or no YCbCr.
func (f *intervals) decode() *image.YCbCr {
	pieces := make([]*image.YCbCr, len(f.data)) // at the place of their first interval
	var other atomic.Bool
	share(len(f.data), 1, func(from, below int) {
		m, _ := jpeg.Decode(bytes.NewReader(f.piece(from, below)))
		p, ok := m.(*image.YCbCr)
		if pieces[from] = p; !ok {
			other.Store(true)
		}
	})
	if other.Load() {
		return nil
	}
	var y, cb, cr [][]byte
	for _, p := range pieces {
		if p != nil {
			y, cb, cr = append(y, p.Y), append(cb, p.Cb), append(cr, p.Cr)
		}
	}
	first := pieces[0]
	return &image.YCbCr{
		Y: slices.Concat(y...), Cb: slices.Concat(cb...), Cr: slices.Concat(cr...),
		YStride: first.YStride, CStride: first.CStride, SubsampleRatio: first.SubsampleRatio, Rect: image.Rect(0, 0, f.w, f.h),
	}
}

// piece makes a JPEG of some intervals, whose markers count from 0 again.
func (f *intervals) piece(from, below int) []byte {
	out := slices.Clone(f.head)
	binary.BigEndian.PutUint16(out[f.height:], uint16(min(f.h, below*f.rows)-from*f.rows))
	return append(appendIntervals(append(out, f.scan...), f.data[from:below]), 0xff, eoi)
}

// appendIntervals appends the data of intervals with the markers between them.
func appendIntervals(to []byte, data [][]byte) []byte {
	for i, d := range data {
		if i > 0 {
			to = append(to, 0xff, rst0+byte((i-1)%8))
		}
		to = append(to, d...)
	}
	return to
}
