// Package picture prepares pictures for the model and takes them from it: files from
// anybody become RGB, RGB becomes what the vision tower and the VAE take, and what the VAE
// gives becomes a file. It is the part of the pipeline that Pillow, transformers' image
// processor and diffusers' VaeImageProcessor have in the original, number for number, since a
// model sees what it was trained on only where the pixels are the same.
//
//	p, err := picture.Decode(data, limits)                     // EXIF applied, RGB
//	plan, err := picture.PlanEdit(area, p.Size(), picture.Size{})
//	p, err = picture.Resize(p, plan.References[0].VAE.W, plan.References[0].VAE.H, picture.Lanczos)
//	x := p.AppendVAE(nil)                                      // NHWC, -1 to 1
//	patches, grid, err := processor.Append(nil, p)             // rows of 1176
//
// # What is equal
//
// All comparisons are with Pillow 12.3 and transformers 4.57, and are tests.
//
// Resizing, by Lanczos and Bicubic, is equal byte for byte. Pillow 13 does columns first
// where that is less work and so differs from its own former self, by a fifth of a level in
// the mean; here rows come first, as in every Pillow that the model was trained and served
// with.
//
// Patches and the VAE's input are equal bit for bit in float32. Sizes are equal.
//
// PNG, BMP and WEBP, lossy ones too, decode to the same bytes. JPEGs differ by the rounding of
// the inverse DCT, which is image/jpeg's own: in pictures of waves and noise 2 to 5 samples of
// a hundred differ (YCCK: 10), by 1 level most and by 3 at most. Chroma is brought to the size of
// luma as libjpeg does it ("fancy upsampling"); repeating its samples, as image/color does,
// would be 4 levels off in the mean and more than 20 at most.
//
// # What colours mean
//
// They become RGB as by Pillow's convert("RGB"). Alpha is dropped, not blended: what an editor
// left below a transparent pixel becomes visible. Palettes are looked up without their
// transparency. Of 16 bits the upper 8 are taken; only PNGs of 16-bit grey without an alpha
// channel are cut off at 255, which makes most of them white: that is Pillow's conversion of its
// mode I;16, and what the original pipeline feeds the model. CMYK is converted without a
// profile. Colour profiles and gamma chunks are passed over.
//
// What this package writes has restart markers, between which a JPEG is decoded by several
// processors; others are decoded by one.
//
// Not read: CMYK JPEGs without Adobe's mark, JPEGs of 12 bits or arithmetic coding, run-length
// and 16-bit BMPs, animated WEBPs. They are refused by name. Of an animated PNG the picture that stands
// for it is taken.
//
// # Bytes from anybody
//
// A file's sides are held against Limits before its pixels are decoded, the number of a
// JPEG's scans against a constant, and a file that ends early is refused. EXIF that is broken
// leaves the picture as it lies.
//
// The package is pure: no files, no network, no state. Every function is safe for concurrent
// use as long as nobody changes its arguments meanwhile.
package picture
