package flow

import (
	"context"
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/image/contents"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// openOther describes a finished image, whoever made it, that a flag of the report names:
// oci:PATH, oci:PATH:NAME, docker://REFERENCE, or the reference alone. Errors name the flag.
func openOther(ctx context.Context, flag, where string) (img *contents.Image, err error) {
	if place, is := strings.CutPrefix(where, string(formOCI)); is {
		img, err = contents.Pick(place, contents.Options{})
	} else {
		img, err = contents.Registry(ctx, strings.TrimPrefix(where, string(formRegistry)), contents.Options{})
	}
	if err != nil {
		return nil, fault.Wrap(fault.KindOf(err), fault.HintOf(err), fmt.Errorf("reading -%s=%s: %w", flag, where, err))
	}
	return img, nil
}
