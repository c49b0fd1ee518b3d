package packing

import "fmt"

// Deinterleave puts the rows of a modulation linear from the file's order, in which the
// six parts of a channel lie side by side, into plain order: all channels of part 0 first.
// dst and src hold rows rows of equally many elements: rows of codes or nibbles, or a bias
// with one element a row. wscales and wzeros have outputs as columns: call it for each of
// their rows, with rows outputs of one element. rows must be a multiple of 6.
func Deinterleave[T any](dst, src []T, rows int) error {
	return eachModulationRow(len(dst), len(src), rows, func(plain, packed, width int) {
		if width == 1 { // a call of copy costs more than one element
			dst[plain] = src[packed]
			return
		}
		copy(dst[plain*width:(plain+1)*width], src[packed*width:])
	})
}

// Interleave is the inverse of Deinterleave.
func Interleave[T any](dst, src []T, rows int) error {
	return eachModulationRow(len(src), len(dst), rows, func(plain, packed, width int) {
		if width == 1 {
			dst[packed] = src[plain]
			return
		}
		copy(dst[packed*width:(packed+1)*width], src[plain*width:])
	})
}

// eachModulationRow visits each row with its place in both orders.
func eachModulationRow(plainLen, packedLen, rows int, visit func(plain, packed, width int)) error {
	if rows <= 0 || rows%ModulationParts != 0 {
		return fmt.Errorf("interleaving modulation: %d rows, want a positive multiple of %d", rows, ModulationParts)
	}
	if plainLen != packedLen || plainLen%rows != 0 {
		return fmt.Errorf("interleaving modulation: %d rows of %d and %d elements, want equal multiples", rows, plainLen, packedLen)
	}
	channels := rows / ModulationParts
	for part := range ModulationParts {
		for channel := range channels {
			visit(part*channels+channel, ModulationAt(part, channel), plainLen/rows)
		}
	}
	return nil
}
