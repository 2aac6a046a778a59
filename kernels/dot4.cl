// dot4.cl - dot4(acc, w, x) = acc + the four bytes of w (unsigned) times the four bytes of x (signed), for each row that
// an item holds. Compilers do not find the instructions for this in plain C. The host therefore defines which
// instruction to use, after a child process has tried it. For vectors:
//   DOT_VNNI512, DOT_VNNI256  x86's vpdpbusd as inline assembly (AVX512-VNNI; AVX-VNNI), if a CPU driver accepts it
//   DOT_AVX2                  vpmaddubsw and vpmaddwd, for older x86 CPUs; needs bytes of w below 128, or ZERO 128
// For scalars:
//   DOT_DP4A                  dp4a as inline PTX (NVIDIA, sm_61 and later)
//   DOT_SDOT4, DOT_SUDOT4     AMD's v_dot4 (gfx906, gfx1011 and gfx103x; gfx11 and later) as builtins of the compiler; the
//                             first takes signed bytes only, so it needs bytes of w below 128, or ZERO 128
// For both:
//   DOT_KHR                   cl_khr_integer_dot_product, one row at a time
//
// Without any of them, single bytes are multiplied. X86_ASSEMBLY: the compiler accepts inline assembly. DOT_ZERO is
// the part of a format's ZERO that is still contained in the bytes after the multiplication.
#include "tile.cl"

#if defined(DOT_VNNI512) || defined(DOT_VNNI256) || defined(DOT_AVX2)
#define X86_ASSEMBLY
#endif
#if (defined(DOT_AVX2) || defined(DOT_SDOT4)) && ZERO == 128
#define DOT_ZERO 0
#else
#define DOT_ZERO ZERO
#endif

#if defined(DOT_VNNI512)
INLINE int16 dot4(int16 acc, uint16 w, uint x)
{
	int16 xs = (int16)as_int(x);
	__asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(xs));
	return acc;
}
#elif defined(DOT_VNNI256)
INLINE int16 dot4(int16 acc, uint16 w, uint x)
{
	int8 xs = (int8)as_int(x), lo = acc.lo, hi = acc.hi;
	__asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(lo) : "x"(w.lo), "x"(xs));
	__asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(hi) : "x"(w.hi), "x"(xs));
	return (int16)(lo, hi);
}
#elif defined(DOT_AVX2)
// vpmaddubsw adds two products to 16 bits and saturates. 2 * 127 * 127 fits, but 2 * 255 * 127 does not. Bytes with
// ZERO 128 are therefore made signed and multiplied as magnitudes, with their signs moved to the other factor: at
// most 2 * 128 * 127.
INLINE int8 dot4_eight(int8 acc, uint8 w, uint8 xs)
{
	const uint8 ones = 0x00010001u;
	int8 pairs, sums;
#if ZERO == 128
	uint8 bytes = w ^ (uint8)0x80808080u, signed_xs;
	__asm__("vpabsb %1, %0" : "=x"(w) : "x"(bytes));
	__asm__("vpsignb %2, %1, %0" : "=x"(signed_xs) : "x"(xs), "x"(bytes));
	xs = signed_xs;
#endif
	__asm__("vpmaddubsw %2, %1, %0" : "=x"(pairs) : "x"(w), "x"(xs));
	__asm__("vpmaddwd %2, %1, %0" : "=x"(sums) : "x"(pairs), "x"(ones));
	return acc + sums;
}

INLINE int16 dot4(int16 acc, uint16 w, uint x)
{
	uint8 xs = (uint8)x;
	return (int16)(dot4_eight(acc.lo, w.lo, xs), dot4_eight(acc.hi, w.hi, xs));
}
#elif defined(DOT_DP4A)
INLINE int dot4(int acc, uint w, uint x)
{
	int sum;
	__asm__("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(w), "r"(x), "r"(acc));
	return sum;
}
#elif defined(DOT_SDOT4)
INLINE int dot4(int acc, uint w, uint x)
{
#if ZERO == 128
	w ^= 0x80808080u;
#endif
	return __builtin_amdgcn_sdot4(as_int(w), as_int(x), acc, false);
}
#elif defined(DOT_SUDOT4)
INLINE int dot4(int acc, uint w, uint x)
{
	return __builtin_amdgcn_sudot4(false, as_int(w), true, as_int(x), acc, false);
}
#elif defined(DOT_KHR) && LANES == 1
INLINE int dot4(int acc, uint w, uint x) { return acc + dot_4x8packed_us_int(w, x); }
#elif defined(DOT_KHR)
#define DOT_LANE(i) dot_acc_sat_4x8packed_us_int(w.s##i, x, acc.s##i)
INLINE int16 dot4(int16 acc, uint16 w, uint x)
{
	return (int16)(DOT_LANE(0), DOT_LANE(1), DOT_LANE(2), DOT_LANE(3), DOT_LANE(4), DOT_LANE(5), DOT_LANE(6), DOT_LANE(7),
	               DOT_LANE(8), DOT_LANE(9), DOT_LANE(a), DOT_LANE(b), DOT_LANE(c), DOT_LANE(d), DOT_LANE(e), DOT_LANE(f));
}
#else
INLINE ints dot4(ints acc, words w, uint x)
{
	char4 xs = as_char4(x);
	ints low = as_ints(w & (words)255), second = as_ints(w >> (words)8 & (words)255);
	ints third = as_ints(w >> (words)16 & (words)255), high = as_ints(w >> (words)24);
	return acc + low * xs.x + second * xs.y + third * xs.z + high * xs.w;
}
#endif
