package main

import (
	"fmt"
	"strings"

	"github.com/plimsoll-oci/plimsoll/manifests"
	"github.com/plimsoll-oci/plimsoll/runtime/models"
)

// reportText is the report for people, with what lies beside the model in front of the
// total.
func reportText(c *manifests.ModelConfig, r *models.Report) string {
	var strangers strings.Builder
	for _, w := range r.Warnings {
		fmt.Fprintf(&strangers, "⚠ %s\n", w)
	}
	return r.Text(c, strangers.String())
}
