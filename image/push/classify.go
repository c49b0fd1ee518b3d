package push

import (
	"fmt"

	"github.com/plimsoll-oci/plimsoll/image/refusals"
	"github.com/plimsoll-oci/plimsoll/manifests/fault"
)

// classify marks an error of a registry with kind and hint. Kinds that are set already,
// such as for bytes that are not here, stay.
func classify(t Target, doing string, err error) error {
	wrapped := fmt.Errorf("%s %s: %w", doing, t, err)
	if k := fault.KindOf(err); k != fault.Internal {
		return wrapped
	}
	return fault.Wrap(fault.Registry, refusals.Asked{Repository: t.ref.Context()}.Hint(err), wrapped)
}

// lost is classify where the registry has answered before: then its address is right, and
// one that answers no more is waited for.
func lost(t Target, doing string, err error) error {
	err = classify(t, doing, err)
	if fault.HintOf(err) == refusals.Address {
		return fault.Wrap(0, refusals.Again, err)
	}
	return err
}
