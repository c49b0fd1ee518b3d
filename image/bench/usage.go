package bench

import (
	"cmp"
	"slices"
)

// Usage is what processes cost, as the kernel counts it.
type Usage struct {
	// Seconds is wall-clock time, from before the start to the exit.
	Seconds float64 `json:"seconds"`
	// UserSeconds and SystemSeconds are CPU time: ru_utime and ru_stime.
	UserSeconds   float64 `json:"userSeconds"`
	SystemSeconds float64 `json:"systemSeconds"`
	// PeakMemory is the highest resident memory in bytes: VmHWM of /proc/PID/status, looked
	// at every few milliseconds. (ru_maxrss would not do: it begins with the peak of the
	// process that started this one.)
	PeakMemory int64 `json:"peakMemoryBytes"`
	// DiskRead is what had to be fetched from the disk, DiskWritten what was made dirty and
	// has to be written to it: read_bytes and write_bytes of /proc/PID/io.
	DiskRead    int64 `json:"diskReadBytes"`
	DiskWritten int64 `json:"diskWrittenBytes"`
	// CallsRead and CallsWritten are what went through system calls, to and from files and
	// sockets alike, whether out of the page cache or not: rchar and wchar of /proc/PID/io.
	CallsRead    int64 `json:"callsReadBytes"`
	CallsWritten int64 `json:"callsWrittenBytes"`
}

// CPU is user and system time in seconds.
func (u Usage) CPU() float64 { return u.UserSeconds + u.SystemSeconds }

// then is the usage of both, one after the other.
func (u Usage) then(next Usage) Usage {
	sum := u.beside(next)
	sum.Seconds = u.Seconds + next.Seconds
	sum.PeakMemory = max(u.PeakMemory, next.PeakMemory)
	return sum
}

// beside is the usage of both at the same time. Peaks add up, as if they came together.
func (u Usage) beside(other Usage) Usage {
	return Usage{
		Seconds:     max(u.Seconds, other.Seconds),
		UserSeconds: u.UserSeconds + other.UserSeconds, SystemSeconds: u.SystemSeconds + other.SystemSeconds,
		PeakMemory: u.PeakMemory + other.PeakMemory,
		DiskRead:   u.DiskRead + other.DiskRead, DiskWritten: u.DiskWritten + other.DiskWritten,
		CallsRead: u.CallsRead + other.CallsRead, CallsWritten: u.CallsWritten + other.CallsWritten,
	}
}

// Sample is one measurement of a contestant.
type Sample struct {
	Usage
	// Transferred is the number of bytes that the server handed to the network: what was
	// downloaded, with what got lost on the way. 0 where there is no such server.
	Transferred int64 `json:"transferredBytes,omitempty"`
	// Requests is how many requests for the file the server had.
	Requests int `json:"requests,omitempty"`
	// ServerSeconds is the CPU time of the loopback Hub or of the registry meanwhile.
	ServerSeconds float64 `json:"serverCPUSeconds"`
}

// medians are the medians of every column by itself. There must be samples.
func medians(list []Sample) Sample {
	whole := func(get func(Sample) int64) int64 {
		return int64(median(list, func(s Sample) float64 { return float64(get(s)) }))
	}
	return Sample{
		Usage: Usage{
			Seconds:       median(list, func(s Sample) float64 { return s.Seconds }),
			UserSeconds:   median(list, func(s Sample) float64 { return s.UserSeconds }),
			SystemSeconds: median(list, func(s Sample) float64 { return s.SystemSeconds }),
			PeakMemory:    whole(func(s Sample) int64 { return s.PeakMemory }),
			DiskRead:      whole(func(s Sample) int64 { return s.DiskRead }),
			DiskWritten:   whole(func(s Sample) int64 { return s.DiskWritten }),
			CallsRead:     whole(func(s Sample) int64 { return s.CallsRead }),
			CallsWritten:  whole(func(s Sample) int64 { return s.CallsWritten }),
		},
		Transferred:   whole(func(s Sample) int64 { return s.Transferred }),
		Requests:      int(whole(func(s Sample) int64 { return int64(s.Requests) })),
		ServerSeconds: median(list, func(s Sample) float64 { return s.ServerSeconds }),
	}
}

// median is the middle value, or the mean of the two in the middle.
func median[T any](list []T, get func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = get(v)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}
