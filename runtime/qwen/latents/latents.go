// Package latents is the arithmetic on a picture's latents between the models: into the
// tokens that the transformer reads and back, into the scale that it was trained in and back,
// and the guidance that joins two predictions.
//
// The VAE's latents of a picture of H×W pixels are [C, H/8, W/8], C = 16, in the order in
// which they are stored here: channel, row, column. The transformer sees tokens of 2×2
// positions, [H/16·W/16, 4·C], row by row; within a token, channel c of position (y, x) is at
//
//	4·c + 2·(y mod 2) + (x mod 2)
//
// as _pack_latents of diffusers' Qwen-Image pipelines lays it out. Its input is the target's
// tokens and behind them those of each reference picture; of its prediction the target's count.
//
// Everything is float32, works on the caller's memory, is deterministic and allocates
// nothing that grows with a picture. Functions may run at the same time on different memory.
// Slices whose lengths contradict their shape are a defect of the caller and panic.
package latents

import "fmt"

// Scale is how many pixels a position of the latents stands for, in either direction, and
// Patch how many positions a token does.
const (
	Scale = 8
	Patch = 2
)

// Shape is the shape of a picture's latents, [Channels, Height, Width] in positions. Height
// and Width are even. Of makes one that is right.
type Shape struct{ Channels, Height, Width int }

// Of returns the shape of the latents of a picture in pixels, with the number of channels
// that the VAE's configuration states (z_dim). A side that is no multiple of 16 over 0 is an
// error: what to do with such a picture is decided before the VAE sees it.
func Of(channels, height, width int) (Shape, error) {
	const pixels = Scale * Patch
	if channels < 1 || height < 1 || width < 1 || height%pixels != 0 || width%pixels != 0 {
		return Shape{}, fmt.Errorf("shaping latents of %d channels for %d×%d pixels: want sides that are multiples of %d", channels, width, height, pixels)
	}
	return Shape{channels, height / Scale, width / Scale}, nil
}

// Len is the number of values.
func (s Shape) Len() int { return s.Channels * s.Height * s.Width }

// TokenRows is the height of the grid of tokens.
func (s Shape) TokenRows() int { return s.Height / Patch }

// TokenColumns is the width of the grid of tokens.
func (s Shape) TokenColumns() int { return s.Width / Patch }

// Tokens is the number of tokens.
func (s Shape) Tokens() int { return s.TokenRows() * s.TokenColumns() }

// TokenWidth is the number of values of a token.
func (s Shape) TokenWidth() int { return s.Channels * Patch * Patch }

// Pack lays latents [Channels, Height, Width] out as tokens [Tokens, TokenWidth] in dst. dst
// and z must not overlap.
func (s Shape) Pack(dst, z []float32) {
	s.check("packing", dst, z)
	width := s.TokenWidth()
	s.eachRow(func(row, token, at int) {
		for x := 0; x < s.Width; x += Patch {
			dst[token+at], dst[token+at+1] = z[row+x], z[row+x+1]
			token += width
		}
	})
}

// Unpack is the inverse of Pack: tokens [Tokens, TokenWidth] to latents in dst.
func (s Shape) Unpack(dst, tokens []float32) {
	s.check("unpacking", dst, tokens)
	width := s.TokenWidth()
	s.eachRow(func(row, token, at int) {
		for x := 0; x < s.Width; x += Patch {
			dst[row+x], dst[row+x+1] = tokens[token+at], tokens[token+at+1]
			token += width
		}
	})
}

// eachRow calls f with where a row of latents begins, where the first of its tokens does,
// and where in each token the row's pair of values is.
func (s Shape) eachRow(f func(row, token, at int)) {
	for c := range s.Channels {
		for y := range s.Height {
			f((c*s.Height+y)*s.Width, y/Patch*s.TokenColumns()*s.TokenWidth(), Patch*Patch*c+Patch*(y%Patch))
		}
	}
}

func (s Shape) check(doing string, a, b []float32) {
	if s.Height%Patch != 0 || s.Width%Patch != 0 || len(a) != s.Len() || len(b) != s.Len() {
		panic(fmt.Sprintf("latents: %s %+v between %d and %d values", doing, s, len(a), len(b)))
	}
}

// ChannelsLast lays latents [Channels, Height, Width] out position by position, channels side
// by side, in dst [Height·Width, Channels]: the order in which package vae reads and writes
// them. dst and z must not overlap.
func (s Shape) ChannelsLast(dst, z []float32) {
	s.check("laying out", dst, z)
	transpose(dst, z, s.Channels, s.Height*s.Width)
}

// ChannelsFirst is the inverse of ChannelsLast: what package vae wrote to latents in dst.
func (s Shape) ChannelsFirst(dst, rows []float32) {
	s.check("laying out", dst, rows)
	transpose(dst, rows, s.Height*s.Width, s.Channels)
}

// tile is how many positions are laid out at a time: with 16 channels they and their copies
// stay in the first cache. Channels lie a power of two apart, so that a position of each would
// push the others out.
const tile = 64

// transpose lays a matrix of n rows of m values out as m rows of n, in tiles of the longer
// side, along which the inner loop runs.
func transpose(dst, src []float32, n, m int) {
	for start := 0; start < max(n, m); start += tile {
		end := min(start+tile, max(n, m))
		if n > m {
			for j := range m {
				for i := start; i < end; i++ {
					dst[j*n+i] = src[i*m+j]
				}
			}
			continue
		}
		for i := range n {
			for j := start; j < end; j++ {
				dst[j*n+i] = src[i*m+j]
			}
		}
	}
}
