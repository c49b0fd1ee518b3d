package ref

import "testing"

func BenchmarkMultiply(b *testing.B) {
	const n, m, k = 256, 128, 1024
	x, w, y := make([]float32, n*k), make([]float32, m*k), make([]float32, n*m)
	for b.Loop() {
		multiply(rows{y, m}, rows{x, k}, rows{w, k}, n, m, k)
	}
	b.ReportMetric(2*n*m*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}
