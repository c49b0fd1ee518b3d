package demo

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// golden is the picture that the image's program makes of the demo's: the service's JPEG. A
// change that moves it has to say why; the demo leaves the new one in its folder of results.
//
//go:embed golden.jpg
var golden []byte

// tolerance is how many levels a sample may be off: rounding on another processor.
const tolerance = 1

// wish is the edit that the demo asks for, as the service's clients write it.
type wish struct {
	Image  string `json:"image"`
	Prompt string `json:"prompt"`
	Seed   uint64 `json:"seed"`
}

// answer is what the demo reads of the service's.
type answer struct {
	Success     bool    `json:"success"`
	EditedImage []byte  `json:"edited_image"` // base64, as package json has it
	Message     *string `json:"error_message"`
	Detail      any     `json:"detail"`
	Seconds     float64 `json:"processing_time"`
}

// edit starts the image's own service and has it edit a picture, which must be the golden
// one.
func (d *demo) edit(ctx context.Context, root string) error {
	d.announce("edit: the image's own program edits a picture over HTTP")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s, err := d.startService(ctx, root)
	if err != nil {
		return err
	}
	a, err := s.ask(ctx)
	if err == nil {
		err = os.WriteFile(d.edited(), a.EditedImage, 0o644)
	}
	if err == nil {
		err = alike(a.EditedImage, golden)
	}
	stop()
	if err := errors.Join(err, s.wait()); err != nil {
		return fmt.Errorf("editing a picture: %w", err)
	}
	fmt.Fprintf(d.both(), "picture  %s, %.1f s on the CPU\n", d.edited(), a.Seconds)
	fmt.Fprintf(d.both(), "golden   no sample is off by more than %d of 255 levels\n", tolerance)
	fmt.Fprintln(d.both(), "note     its weights are random: the picture shows that every part of the model ran, not what the model can do")
	return nil
}

// edited is the picture that the demo leaves behind.
func (d *demo) edited() string { return filepath.Join(d.Out, "demo-edit.jpg") }

// service is the image's program at work.
type service struct {
	url  string
	wait func() error
}

// startService runs the image's default command until ctx ends, and waits until it listens.
func (d *demo) startService(ctx context.Context, root string) (*service, error) {
	c := d.command(ctx, root, append([]string{"serve", "-host=127.0.0.1", "-port=0"}, inside(root)...)...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.Stderr = w
	if err := errors.Join(c.Start(), w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	address, logged := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(logged)
		defer r.Close()
		follow(io.TeeReader(r, d.log), address)
	}()
	s := &service{wait: func() error {
		<-logged
		return interrupted(c.Wait())
	}}
	select {
	case a := <-address:
		s.url = "http://" + a
		return s, nil
	case <-logged:
		return nil, fmt.Errorf("starting the service: it ended: %w", s.wait())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.wait())
	}
}

// interrupted is the error of a service that was asked to stop: none, if it ended well.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// follow reads the service's log, of one JSON object a line, and tells where it listens.
func follow(r io.Reader, address chan<- string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			address <- line.Address
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line beyond the scanner's limit must not block the service
}

// ask waits until the service is ready and posts the wish.
func (s *service) ask(ctx context.Context) (*answer, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	body, err := json.Marshal(wish{Image: base64.StdEncoding.EncodeToString(ship()), Prompt: "Paint the hull of the ship red.", Seed: 20})
	if err != nil {
		return nil, err
	}
	status, data, err := fetch(ctx, http.MethodPost, s.url+"/edit-image", body)
	if err != nil {
		return nil, err
	}
	a := &answer{}
	if err := json.Unmarshal(data, a); err != nil {
		return nil, fmt.Errorf("reading the answer %.200q: %w", data, err)
	}
	if status != http.StatusOK || !a.Success {
		return nil, fmt.Errorf("asking for an edit: the answer is %d: %.500s", status, data)
	}
	return a, nil
}

// ready asks until the service can edit.
func (s *service) ready(ctx context.Context) error {
	for {
		status, body, err := fetch(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil || status == http.StatusOK {
			return err
		}
		var state struct{ Stage string }
		if json.Unmarshal(body, &state) == nil && state.Stage == "failed" {
			return fmt.Errorf("waiting for the service: %s", body)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func fetch(ctx context.Context, method, url string, body []byte) (status int, data []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	data, err = io.ReadAll(io.LimitReader(a.Body, 16<<20))
	return a.StatusCode, data, err
}

// alike compares two JPEGs sample by sample.
func alike(got, want []byte) error {
	a, err := jpeg.Decode(bytes.NewReader(got))
	if err != nil {
		return fmt.Errorf("reading the edited picture: %w", err)
	}
	b, err := jpeg.Decode(bytes.NewReader(want))
	if err != nil {
		return fmt.Errorf("reading the golden picture: %w", err)
	}
	if a.Bounds() != b.Bounds() {
		return fmt.Errorf("comparing with the golden picture: it is %v, the edited one %v", b.Bounds(), a.Bounds())
	}
	most := 0
	for y := b.Bounds().Min.Y; y < b.Bounds().Max.Y; y++ {
		for x := b.Bounds().Min.X; x < b.Bounds().Max.X; x++ {
			most = max(most, apart(a.At(x, y), b.At(x, y)))
		}
	}
	if most > tolerance {
		return fmt.Errorf("comparing with the golden picture: a sample is off by %d levels, at most %d are rounding", most, tolerance)
	}
	return nil
}

// apart is by how many levels the samples of two colours differ at most.
func apart(a, b color.Color) (most int) {
	ar, ag, ab, _ := a.RGBA()
	br, bg, bb, _ := b.RGBA()
	for _, d := range []int{int(ar>>8) - int(br>>8), int(ag>>8) - int(bg>>8), int(ab>>8) - int(bb>>8)} {
		most = max(most, d, -d)
	}
	return most
}

// ship is the picture to edit, as a PNG: a ship in the water.
func ship() []byte {
	const w, h = 96, 64
	p := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			p.SetRGBA(x, y, shipColour(x, y))
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

func shipColour(x, y int) color.RGBA {
	switch {
	case y >= 28 && y < 46 && x >= 14+(y-28)/2 && x < 84-(y-28)/2: // hull
		return color.RGBA{40, 44, 52, 255}
	case y >= 16 && y < 28 && x >= 52 && x < 70: // bridge
		return color.RGBA{230, 226, 214, 255}
	case y >= 42: // water
		return color.RGBA{20, uint8(90 + y), uint8(130 + y/2), 255}
	default: // sky
		return color.RGBA{uint8(150 + y), uint8(190 + y), 240, 255}
	}
}
