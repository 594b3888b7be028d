/* DICOM by GDCM: a plugin, so that the program itself needs neither it nor C++ (common/io/dicom.h). */
#include <gdcmBitmap.h>
#include <gdcmByteValue.h>
#include <gdcmDataSet.h>
#include <gdcmReader.h>
#include <gdcmSequenceOfFragments.h>
#include <gdcmSequenceOfItems.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/io/dicom.h"

using gdcm::DataSet;
using gdcm::Tag;
using bytes = std::vector<uint8_t>;

/* ---- what an element holds ------------------------------------------------------------------------------------------------ */

static const gdcm::ByteValue *value(const DataSet &ds, const Tag &t)
{
    return ds.FindDataElement(t) ? ds.GetDataElement(t).GetByteValue() : nullptr;
}

static std::string trimmed(const std::string &s)
{
    const char *blank = " \t\r\n";
    size_t from = s.find_first_not_of(std::string(blank) + '\0'), to = s.find_last_not_of(std::string(" \t\r\n\0", 5));
    return from == std::string::npos || to == std::string::npos ? "" : s.substr(from, to - from + 1);
}

static std::string text(const DataSet &ds, const Tag &t)
{
    const gdcm::ByteValue *v = value(ds, t);
    return v && v->GetPointer() ? trimmed(std::string(v->GetPointer(), v->GetLength())) : "";
}

/* The k-th of numbers that are written out, parted by \ (DS, IS) */
static bool decimal(const DataSet &ds, const Tag &t, size_t k, double *out)
{
    std::string all = text(ds, t);
    size_t at = 0;
    for (; k > 0; k--) {
        at = all.find('\\', at);
        if (at++ == std::string::npos) return false;
    }
    std::string one = trimmed(all.substr(at, all.find('\\', at) - at));
    char *end;
    double v = std::strtod(one.c_str(), &end);
    if (one.empty() || *end || !std::isfinite(v)) return false;
    *out = v;
    return true;
}

static std::vector<double> decimals(const DataSet &ds, const Tag &t)
{
    std::string all = text(ds, t);
    std::vector<double> out;
    for (size_t at = 0; at <= all.size() && !all.empty();) {
        size_t end = std::min(all.find('\\', at), all.size());
        std::string one = trimmed(all.substr(at, end - at));
        char *rest;
        out.push_back(std::strtod(one.c_str(), &rest));
        if (one.empty() || *rest) return {};
        at = end + 1;
    }
    return out;
}

/* The k-th of numbers of so many bytes (US, SS, UL, AT), in this machine's order as GDCM leaves them */
template <typename T> static bool binary(const DataSet &ds, const Tag &t, size_t k, T *out)
{
    const gdcm::ByteValue *v = value(ds, t);
    if (!v || !v->GetPointer() || v->GetLength() < (k + 1) * sizeof(T)) return false;
    std::memcpy(out, v->GetPointer() + k * sizeof(T), sizeof(T));
    return true;
}

static int us(const DataSet &ds, const Tag &t, int otherwise)
{
    uint16_t v;
    return binary(ds, t, 0, &v) ? v : otherwise;
}

/* The k-th item of a sequence; NULL: there is none */
static const DataSet *item(const DataSet &ds, const Tag &t, size_t k)
{
    if (!ds.FindDataElement(t)) return nullptr;
    gdcm::SmartPointer<gdcm::SequenceOfItems> s = ds.GetDataElement(t).GetValueAsSQ();
    if (!s || k >= s->GetNumberOfItems()) return nullptr;
    return &s->GetItem(k + 1).GetNestedDataSet();
}

static void copy(char *to, size_t size, const std::string &from)
{
    size_t n = std::min(size - 1, from.size());
    std::memcpy(to, from.data(), n);
    to[n] = 0;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------- */

using part = ft_dicom_part;

struct lookup { /* a table of grey levels (PS3.3 C.11.1, C.11.2), or one colour of a palette (C.7.9) */
    int first = 0, bits = 0;
    std::vector<uint16_t> level;
    double at(double v) const
    {
        double i = std::min(std::max(std::floor(v) - first, 0.0), (double)level.size() - 1);
        return level[(size_t)i];
    }
};

struct window {
    double centre, width;
    std::string function;
    bool operator==(const window &o) const { return centre == o.centre && width == o.width && function == o.function; }
};

struct dicom {
    const char *path;
    std::ifstream stream;
    gdcm::Reader reader;
    gdcm::TransferSyntax syntax;
    const DataSet *ds;
    int64_t frames;
    int columns, rows, samples, allocated, stored, high;
    bool is_signed, planar, encapsulated, inverted;
    std::string colour;
    std::vector<double> times;
    std::vector<std::vector<part>> pictures; /* encapsulated: the fragments of each frame */
    part native;
    lookup modality, voi, palette[3];
    std::vector<uint8_t> shade; /* of a stored value; made for: */
    bool shaded = false, had_window = false;
    window shaded_for;
    double slope = 1, intercept = 0;
};

static int damaged(const dicom *d, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s: %s. Copy the file again, or leave it out with --on-error skip", d->path, what);
}

static bool read_at(dicom *d, uint64_t at, void *to, size_t size)
{
    d->stream.clear();
    d->stream.seekg((std::streamoff)at);
    d->stream.read((char *)to, (std::streamsize)size);
    return (size_t)d->stream.gcount() == size;
}

static uint32_t little(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static uint64_t file_size(dicom *d)
{
    d->stream.clear();
    d->stream.seekg(0, std::ios::end);
    return (uint64_t)d->stream.tellg();
}

/* ---- where the pictures lie ----------------------------------------------------------------------------------------------- */

/* MPEG-2 or H.264, one stream for all frames */
static bool is_stream(const gdcm::TransferSyntax &t)
{
    using T = gdcm::TransferSyntax;
    return t == T::MPEG2MainProfile || t == T::MPEG2MainProfileHighLevel || t == T::MPEG4AVCH264HighProfileLevel4_1 ||
           t == T::MPEG4AVCH264BDcompatibleHighProfileLevel4_1;
}

/* Does a fragment begin a picture? By the first bytes of JPEG, JPEG-LS and of JPEG 2000. */
static bool begins(dicom *d, const part &p)
{
    uint8_t head[2] = {0, 0};
    return p.size >= 2 && read_at(d, p.at, head, 2) && head[0] == 0xff && (head[1] == 0xd8 || head[1] == 0x4f);
}

/* A picture may lie in several fragments: a table of offsets says where each begins, or its first bytes do. */
static int deal(dicom *d, const std::vector<part> &all, const std::vector<uint64_t> &offset, uint64_t origin)
{
    bool one_each = (int64_t)all.size() == d->frames, table = (int64_t)offset.size() == d->frames;
    for (const part &p : all) {
        uint64_t from = p.at - 8 - origin;
        bool fresh = one_each || d->pictures.empty() ||
                     (d->frames > 1 && (table ? std::binary_search(offset.begin(), offset.end(), from) : begins(d, p)));
        if (fresh) d->pictures.emplace_back();
        d->pictures.back().push_back(p);
    }
    if ((int64_t)d->pictures.size() == d->frames) return FT_OK;
    return FT_FAIL(
        FT_EDATA,
        "%s: %lld frames are said to be there, and %zu are. It is cut off or damaged: copy the file again, or leave it out "
        "with --on-error skip",
        d->path, (long long)d->frames, d->pictures.size());
}

static int find_fragments(dicom *d, uint64_t at, uint64_t end)
{
    std::vector<part> all;
    std::vector<uint64_t> offset;
    uint64_t origin = 0;
    for (bool first = true;; first = false) {
        uint8_t head[8];
        if (at + 8 > end || !read_at(d, at, head, 8)) return damaged(d, "cut off: the list of its pictures has no end");
        uint32_t tag = little(head), size = little(head + 4);
        at += 8;
        if (tag == 0xe0ddfffe) break;
        if (tag != 0xe000fffe || size > end - at)
            return damaged(d, "cut off or damaged: a picture reaches beyond the end of the file");
        if (first) {
            bytes table(size / 4 * 4);
            if (size && !read_at(d, at, table.data(), table.size())) return damaged(d, "cut off");
            for (size_t i = 0; i + 4 <= table.size(); i += 4) offset.push_back(little(&table[i]));
            origin = at + size;
        } else all.push_back({at, size});
        at += size;
    }
    if (is_stream(d->syntax)) return d->pictures.push_back(all), FT_OK;
    uint64_t far; /* extended offset table */
    for (size_t k = 0; offset.empty() && binary(*d->ds, Tag(0x7fe0, 0x0001), k, &far); k++) offset.push_back(far);
    std::sort(offset.begin(), offset.end());
    return deal(d, all, offset, origin);
}

static uint64_t native_bytes(const dicom *d)
{
    uint64_t pixels = (uint64_t)d->columns * (uint64_t)d->rows;
    return d->colour == "YBR_FULL_422" ? (pixels + 1) / 2 * 4 : pixels * (uint64_t)d->samples * (uint64_t)(d->allocated / 8);
}

static int find_pictures(dicom *d)
{
    const bool swapped = d->syntax == gdcm::TransferSyntax::ExplicitVRBigEndian;
    const uint8_t *tag = (const uint8_t *)(swapped ? "\x7f\xe0\x00\x10" : "\xe0\x7f\x10\x00");
    uint8_t all_of_it[12], *head = all_of_it + 4;
    d->stream.clear();
    std::streamoff behind = d->stream.tellg(); /* of tag, type (but where it is implicit) and length */
    if (behind < 12 || !read_at(d, (uint64_t)behind - 12, all_of_it, 12) ||
        (std::memcmp(all_of_it, tag, 4) && std::memcmp(head, tag, 4)))
        return FT_FAIL(FT_EDATA, "%s: a DICOM file that holds no pictures, or not in a way that is read here", d->path);
    uint64_t at = (uint64_t)behind, end = file_size(d);
    uint32_t size = little(head + 4);
    if (swapped) {
        size = __builtin_bswap32(size);
        if (d->allocated == 8 && !std::memcmp(head, "OW", 2))
            return FT_FAIL(FT_EDATA, "%s: pixels of 8 bits in big-endian words are not read here", d->path);
    }
    if (size == 0xffffffff) return d->encapsulated ? find_fragments(d, at, end) : damaged(d, "its pictures have no length");
    if (d->encapsulated) return damaged(d, "its pictures are not laid down as its transfer syntax says");
    d->native = {at, native_bytes(d)};
    uint64_t all;
    if (__builtin_mul_overflow(d->native.size, (uint64_t)d->frames, &all)) all = UINT64_MAX;
    if (all > size || all > end - at)
        return FT_FAIL(
            FT_EDATA,
            "%s: cut off: %lld frames of %dx%d take %llu bytes, and %llu are there. Copy the file again, or leave it out with "
            "--on-error skip",
            d->path, (long long)d->frames, d->columns, d->rows, (unsigned long long)all,
            (unsigned long long)std::min<uint64_t>(size, end - at));
    return FT_OK;
}

/* ---- what it says of itself ----------------------------------------------------------------------------------------------- */

/* entries, first value, bits; the values as words, or as bytes where there are no more of them */
static bool read_lookup(const DataSet &ds, const Tag &descriptor, const Tag &data, bool is_signed, lookup *l)
{
    uint16_t entries, first, bits;
    const gdcm::ByteValue *v = value(ds, data);
    if (!binary(ds, descriptor, 0, &entries) || !binary(ds, descriptor, 1, &first) || !binary(ds, descriptor, 2, &bits) || !v ||
        !v->GetPointer() || bits < 8 || bits > 16)
        return false;
    size_t n = entries ? entries : 65536, size = v->GetLength();
    const uint8_t *p = (const uint8_t *)v->GetPointer();
    if (size < n) return false;
    l->level.resize(n);
    for (size_t i = 0; i < n; i++) l->level[i] = size < 2 * n ? p[i] : (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
    l->first = is_signed ? (int16_t)first : first;
    l->bits = bits;
    return true;
}

/* Where an attribute of frame k stands: in the frame's own functional group, in the shared one, or in the file (PS3.3 C.7.6.16)
 */
static const DataSet *place(const dicom *d, const Tag &macro, const Tag &attribute, int64_t k)
{
    const Tag groups[2] = {Tag(0x5200, 0x9230), Tag(0x5200, 0x9229)};
    for (int i = 0; i < 2; i++) {
        const DataSet *g = item(*d->ds, groups[i], i ? 0 : (size_t)k), *m = g ? item(*g, macro, 0) : nullptr;
        if (m && m->FindDataElement(attribute)) return m;
    }
    return d->ds->FindDataElement(attribute) ? d->ds : nullptr;
}

static bool window_of(const dicom *d, int64_t k, window *w)
{
    const Tag centre(0x0028, 0x1050), width(0x0028, 0x1051), function(0x0028, 0x1056);
    const DataSet *at = place(d, Tag(0x0028, 0x9132), centre, k);
    if (!at || !decimal(*at, centre, 0, &w->centre) || !decimal(*at, width, 0, &w->width)) return false;
    w->function = text(*at, function);
    return w->width >= (w->function == "" || w->function == "LINEAR" ? 1.0 : 1e-12);
}

static int read_grey(dicom *d, ft_dicom_head *h)
{
    const Tag modality(0x0028, 0x3000), voi(0x0028, 0x3010), descriptor(0x0028, 0x3002), data(0x0028, 0x3006);
    if (const DataSet *r = place(d, Tag(0x0028, 0x9145), Tag(0x0028, 0x1053), 0)) {
        decimal(*r, Tag(0x0028, 0x1053), 0, &d->slope);
        decimal(*r, Tag(0x0028, 0x1052), 0, &d->intercept);
    }
    const DataSet *m = item(*d->ds, modality, 0), *v = item(*d->ds, voi, 0);
    if (m && !read_lookup(*m, descriptor, data, d->is_signed, &d->modality)) return damaged(d, "its modality LUT is not whole");
    bool sign = !m && (d->is_signed || d->intercept < 0); /* of the values that a VOI LUT is given */
    if (v && !read_lookup(*v, descriptor, data, sign, &d->voi)) return damaged(d, "its VOI LUT is not whole");
    d->inverted = d->colour == "MONOCHROME1" || text(*d->ds, Tag(0x2050, 0x0020)) == "INVERSE";
    window w;
    h->whole_range = d->stored > 8 && d->voi.level.empty() && !window_of(d, 0, &w);
    return FT_OK;
}

static int read_colour(dicom *d, ft_dicom_head *h)
{
    static const char *const known[] = {"MONOCHROME1", "MONOCHROME2",  "PALETTE COLOR", "RGB",
                                        "YBR_FULL",    "YBR_FULL_422", "YBR_ICT",       "YBR_RCT"};
    bool found = false, grey = d->colour == known[0] || d->colour == known[1];
    for (const char *k : known) found |= d->colour == k;
    if (!found || d->samples != (grey || d->colour == known[2] ? 1 : 3))
        return FT_FAIL(
            FT_EDATA,
            "%s: pictures of %d samples a pixel, photometric interpretation '%.20s', are not read here; grey, palette, RGB and "
            "YBR are",
            d->path, d->samples, d->colour.c_str());
    if ((d->allocated != 8 && d->allocated != 16) || d->stored < 1 || d->stored > d->allocated || d->high < d->stored - 1 ||
        d->high >= d->allocated)
        return FT_FAIL(FT_EDATA,
                       "%s: pixels of %d bits (%d of them stored, up to bit %d) are not read here; those of 8 to 16 are", d->path,
                       d->allocated, d->stored, d->high);
    if (d->samples == 3 && d->allocated == 16 && d->syntax == gdcm::TransferSyntax::RLELossless)
        return FT_FAIL(FT_EDATA, "%s: RLE colours of 16 bits are not read here", d->path);
    h->channels = grey ? 1 : 3;
    if (grey) return read_grey(d, h);
    for (uint16_t c = 0; d->samples == 1 && c < 3; c++)
        if (!read_lookup(*d->ds, Tag(0x0028, (uint16_t)(0x1101 + c)), Tag(0x0028, (uint16_t)(0x1201 + c)), d->is_signed,
                         &d->palette[c]))
            return damaged(d, "its palette is not whole, or of segments, which are not read here");
    return FT_OK;
}

/* Frame time (ms), a vector of them, or a rate at which it is to be shown */
static void read_times(dicom *d, ft_dicom_head *h)
{
    const Tag time(0x0018, 0x1063), vector(0x0018, 0x1065), rates[3] = {Tag(0x0018, 0x0040), Tag(0x0008, 0x2144), Tag(0x7fdf, 0)};
    double v = 0;
    std::vector<double> step = decimals(*d->ds, vector);
    if ((int64_t)step.size() == d->frames && d->frames > 1) {
        double at = 0;
        bool good = true;
        for (int64_t k = 0; k < d->frames; k++) {
            if (k) at += step[(size_t)k] / 1000;
            good &= std::isfinite(at) && (k == 0 || step[(size_t)k] >= 0);
            d->times.push_back(at);
        }
        h->timed = good && at > 0;
        if (h->timed) h->fps = (double)(d->frames - 1) / at;
    }
    if (!h->timed && decimal(*d->ds, time, 0, &v) && v > 0) h->fps = 1000 / v;
    for (int i = 0; i < 2 && h->fps <= 0; i++)
        if (decimal(*d->ds, rates[i], 0, &v) && v > 0) h->fps = v;
    if (!(h->fps >= 1e-3 && h->fps <= 1e5)) h->fps = 0, h->timed = false;
}

/* Pixel aspect ratio is height \ width, and so is pixel spacing, in mm */
static void read_aspect(const dicom *d, ft_dicom_head *h)
{
    const Tag said[3] = {Tag(0x0028, 0x0034), Tag(0x0028, 0x0030), Tag(0x0018, 0x1164)};
    double high, wide;
    for (const Tag &t : said) {
        if (!decimal(*d->ds, t, 0, &high) || !decimal(*d->ds, t, 1, &wide) || !(high > 0 && wide > 0)) continue;
        double ratio = wide / high;
        if (!(ratio > 0.05 && ratio < 20)) continue;
        bool whole = t == said[0] && high == std::floor(high) && wide == std::floor(wide) && high < 32768 && wide < 32768;
        h->aspect_w = whole ? (int)wide : (int)std::lround(1000 * ratio), h->aspect_h = whole ? (int)high : 1000;
        return;
    }
}

/* Sequence of ultrasound regions (PS3.3 C.8.5.5): those with a two-dimensional picture, corners included */
static void read_regions(const dicom *d, ft_dicom_head *h)
{
    enum { MOST = 1000, TWO_DIMENSIONAL = 1 };
    for (size_t k = 0; k < MOST; k++) {
        const DataSet *r = item(*d->ds, Tag(0x0018, 0x6011), k);
        uint32_t x0, y0, x1, y1;
        if (!r) return;
        if (us(*r, Tag(0x0018, 0x6012), 0) != TWO_DIMENSIONAL || !binary(*r, Tag(0x0018, 0x6018), 0, &x0) ||
            !binary(*r, Tag(0x0018, 0x601a), 0, &y0) || !binary(*r, Tag(0x0018, 0x601c), 0, &x1) ||
            !binary(*r, Tag(0x0018, 0x601e), 0, &y1))
            continue;
        x1 = std::min(x1, (uint32_t)d->columns - 1), y1 = std::min(y1, (uint32_t)d->rows - 1);
        if (x0 >= x1 || y0 >= y1) continue;
        int w = (int)(x1 - x0) + 1, high = (int)(y1 - y0) + 1;
        h->regions++;
        if ((int64_t)w * high <= (int64_t)h->region[2] * h->region[3]) continue;
        h->region[0] = (int)x0, h->region[1] = (int)y0, h->region[2] = w, h->region[3] = high;
    }
}

static void read_identity(const dicom *d, ft_dicom_head *h, ft_dicom_identity *who)
{
    std::string number = text(*d->ds, Tag(0x0010, 0x0020)), burnt = text(*d->ds, Tag(0x0028, 0x0301));
    copy(who->number, sizeof who->number, number);
    copy(who->patient, sizeof who->patient, number.empty() ? "" : text(*d->ds, Tag(0x0010, 0x0021)) + "\\" + number);
    copy(who->name, sizeof who->name, text(*d->ds, Tag(0x0010, 0x0010)));
    copy(who->study, sizeof who->study, text(*d->ds, Tag(0x0020, 0x000d)));
    copy(h->maker, sizeof h->maker, text(*d->ds, Tag(0x0008, 0x0070)));
    copy(h->model, sizeof h->model, text(*d->ds, Tag(0x0008, 0x1090)));
    h->burnt_in = burnt == "YES" ? 1 : burnt == "NO" ? 0 : -1;
}

static bool is_read(const gdcm::TransferSyntax &t)
{
    using T = gdcm::TransferSyntax;
    return t == T::ImplicitVRLittleEndian || t == T::ExplicitVRLittleEndian || t == T::ExplicitVRBigEndian ||
           (t >= T::JPEGBaselineProcess1 && t <= T::RLELossless);
}

static int look_at(dicom *d, bool pictures, ft_dicom_head *h, ft_dicom_identity *who)
{
    const Tag pixels(0x7fe0, 0x0010);
    d->stream.open(d->path, std::ios::binary);
    d->reader.SetStream(d->stream);
    bool read = d->reader.ReadUpToTag(pixels, {pixels});
    const gdcm::FileMetaInformation &meta = d->reader.GetFile().GetHeader();
    std::string syntax = text(meta, Tag(0x0002, 0x0010));
    if (!read && !syntax.empty() && gdcm::TransferSyntax::GetTSType(syntax.c_str()) >= gdcm::TransferSyntax::TS_END)
        return FT_FAIL(FT_EDATA, "%s: the transfer syntax %.64s is not read here", d->path, syntax.c_str());
    if (!read) return damaged(d, "GDCM cannot read it as DICOM");
    d->ds = &d->reader.GetFile().GetDataSet();
    d->syntax = meta.GetDataSetTransferSyntax();
    d->encapsulated = d->syntax.IsEncapsulated();
    copy(h->syntax, sizeof h->syntax, d->syntax.GetString() ? d->syntax.GetString() : "");
    if (text(meta, Tag(0x0002, 0x0002)) == "1.2.840.10008.1.3.10")
        return FT_FAIL(FT_EDATA, "%s: a DICOMDIR, a list of other files. Give the files themselves", d->path);
    read_identity(d, h, who);
    d->columns = us(*d->ds, Tag(0x0028, 0x0011), 0), d->rows = us(*d->ds, Tag(0x0028, 0x0010), 0);
    if (!d->columns || !d->rows) return FT_FAIL(FT_EDATA, "%s: a DICOM file that holds no pictures", d->path);
    double frames = 1;
    if (decimal(*d->ds, Tag(0x0028, 0x0008), 0, &frames) && !(frames >= 1 && frames <= INT32_MAX))
        return damaged(d, "its number of frames is none");
    d->frames = (int64_t)frames;
    d->samples = us(*d->ds, Tag(0x0028, 0x0002), 1);
    d->allocated = us(*d->ds, Tag(0x0028, 0x0100), 0), d->stored = us(*d->ds, Tag(0x0028, 0x0101), d->allocated);
    d->high = us(*d->ds, Tag(0x0028, 0x0102), d->stored - 1);
    d->is_signed = us(*d->ds, Tag(0x0028, 0x0103), 0) == 1, d->planar = us(*d->ds, Tag(0x0028, 0x0006), 0) == 1;
    d->colour = text(*d->ds, Tag(0x0028, 0x0004));
    h->frames = d->frames, h->width = d->columns, h->height = d->rows;
    copy(h->colour, sizeof h->colour, d->colour);
    h->stream = is_stream(d->syntax);
    if (int rc = h->stream ? FT_OK : read_colour(d, h)) return rc;
    read_times(d, h);
    read_aspect(d, h);
    read_regions(d, h);
    if (!h->stream && !is_read(d->syntax))
        return FT_FAIL(FT_EDATA, "%s: the transfer syntax %.64s is not read here", d->path, h->syntax);
    return pictures ? find_pictures(d) : FT_OK;
}

/* ---- pictures ------------------------------------------------------------------------------------------------------------- */

/* What a JPEG stream says of its colours: by component ids (R, G, B), JFIF and Adobe markers. Its bits go to *bits. */
enum jpeg_colour { UNKNOWN, IS_RGB, IS_YBR };
static jpeg_colour look_at_jpeg(const bytes &b, int *bits)
{
    jpeg_colour c = UNKNOWN;
    for (size_t at = 2; at + 4 <= b.size() && b[at] == 0xff;) {
        if (b[at + 1] == 0xff) {
            at++;
            continue;
        }
        size_t size = (size_t)b[at + 2] << 8 | b[at + 3], end = at + 2 + size;
        const uint8_t *p = &b[at + 4];
        if (size < 2 || end > b.size() || b[at + 1] == 0xda) break;
        if (b[at + 1] == 0xe0 && size >= 7 && !std::memcmp(p, "JFIF", 4)) c = IS_YBR;
        if (b[at + 1] == 0xee && size >= 14 && !std::memcmp(p, "Adobe", 5)) c = p[11] == 0 ? IS_RGB : IS_YBR;
        if (b[at + 1] >= 0xc0 && b[at + 1] <= 0xcf && b[at + 1] != 0xc4 && b[at + 1] != 0xc8 && b[at + 1] != 0xcc && size >= 17) {
            *bits = p[0];
            if ((p[6] | 32) == 'r' && (p[9] | 32) == 'g' && (p[12] | 32) == 'b') c = IS_RGB;
        }
        at = end;
    }
    return c;
}

static bool is_jpeg(const gdcm::TransferSyntax &t)
{
    return t >= gdcm::TransferSyntax::JPEGBaselineProcess1 && t <= gdcm::TransferSyntax::JPEGLosslessProcess14_1;
}

/* Decoded, its samples beside each other; what colours they are, and how many bits each takes */
static int decode(dicom *d, int64_t k, bytes *out, std::string *colour, int *allocated)
{
    using gdcm::PhotometricInterpretation;
    bytes in;
    for (const part &p : d->pictures[(size_t)k]) {
        size_t from = in.size();
        in.resize(from + p.size);
        if (!read_at(d, p.at, in.data() + from, p.size)) return damaged(d, "cannot be read");
    }
    jpeg_colour said = UNKNOWN;
    int bits = d->stored;
    if (is_jpeg(d->syntax)) said = look_at_jpeg(in, &bits);
    if (d->samples == 3 && said != UNKNOWN) *colour = said == IS_RGB ? "RGB" : "YBR_FULL";
    if (*colour == "YBR_ICT" || *colour == "YBR_RCT") *colour = "RGB"; /* JPEG 2000's own transforms are undone with it */
    if (*colour == "YBR_FULL_422") *colour = "YBR_FULL";               /* decoders give each pixel its own */
    if (bits <= 8 && *allocated == 16) *allocated = 8;
    gdcm::SmartPointer<gdcm::SequenceOfFragments> fragments = new gdcm::SequenceOfFragments;
    gdcm::Fragment f;
    f.SetByteValue((const char *)in.data(), (uint32_t)in.size());
    fragments->AddFragment(f);
    gdcm::DataElement element(Tag(0x7fe0, 0x0010));
    element.SetVR(gdcm::VR::OB);
    element.SetValue(*fragments);
    gdcm::Bitmap b;
    uint16_t stored = (uint16_t)std::min(d->stored, *allocated), high = (uint16_t)(stored == d->stored ? d->high : stored - 1);
    b.SetTransferSyntax(d->syntax);
    b.SetNumberOfDimensions(2);
    b.SetDimension(0, (unsigned)d->columns);
    b.SetDimension(1, (unsigned)d->rows);
    b.SetPixelFormat(gdcm::PixelFormat((uint16_t)d->samples, (uint16_t)*allocated, stored, high, d->is_signed));
    b.SetPhotometricInterpretation(PhotometricInterpretation(PhotometricInterpretation::GetPIType(
        d->samples == 1 ? (d->colour == "MONOCHROME1" ? "MONOCHROME1" : "MONOCHROME2") : colour->c_str())));
    b.SetPlanarConfiguration(0);
    b.SetDataElement(element);
    size_t size = (size_t)d->columns * (size_t)d->rows * (size_t)d->samples * (size_t)(*allocated / 8);
    out->assign(std::max<size_t>(size, b.GetBufferLength()), 0);
    if (b.GetBufferLength() == size && b.GetBuffer((char *)out->data())) return FT_OK;
    return FT_FAIL(
        FT_EDATA,
        "%s: frame %lld (transfer syntax %.64s) cannot be decoded. It is damaged, or of a kind that GDCM does not decode: leave "
        "the file out with --on-error skip",
        d->path, (long long)k, d->syntax.GetString());
}

static uint8_t to_byte(double v) { return (uint8_t)std::lround(std::min(std::max(v, 0.0), 255.0)); }

/* The grey of every stored value: modality, then values of interest, then which end is black */
static void make_shades(dicom *d, const window *w)
{
    int n = 1 << d->stored, half = d->is_signed ? n / 2 : 0;
    auto of_modality = [&](double v) { return d->modality.level.empty() ? v * d->slope + d->intercept : d->modality.at(v); };
    double low = of_modality(-half), high = of_modality(n - 1 - half);
    if (!d->modality.level.empty()) low = 0, high = (1 << d->modality.bits) - 1;
    if (low > high) std::swap(low, high);
    d->shade.resize((size_t)n);
    for (int i = 0; i < n; i++) {
        double x = of_modality(i >= n - half ? i - n : i), y;
        if (!d->voi.level.empty()) y = d->voi.at(x) / ((1 << d->voi.bits) - 1);
        else if (!w) y = (x - low) / (high > low ? high - low : 1);
        else if (w->function == "SIGMOID") y = 1 / (1 + std::exp(-4 * (x - w->centre) / w->width));
        else if (w->function == "LINEAR_EXACT") y = (x - w->centre) / w->width + 0.5;
        else if (w->width > 1) y = (x - (w->centre - 0.5)) / (w->width - 1) + 0.5;
        else y = x > w->centre - 0.5;
        uint8_t v = to_byte(255 * y);
        d->shade[(size_t)i] = d->inverted ? (uint8_t)(255 - v) : v;
    }
}

static void shade_for(dicom *d, int64_t k)
{
    window w;
    bool has = d->voi.level.empty() && window_of(d, k, &w);
    if (d->shaded && has == d->had_window && (!has || w == d->shaded_for)) return;
    make_shades(d, has ? &w : nullptr);
    d->shaded = true, d->had_window = has;
    if (has) d->shaded_for = w;
}

/* The stored value of sample c of pixel i: where its bits are */
struct samples {
    const uint8_t *p;
    int bytes, stored, high, of;
    size_t apart; /* from pixel to pixel of one plane; 0: samples stand beside each other */
    unsigned at(size_t i, int c) const
    {
        size_t k = apart ? (size_t)c * apart + i : i * (size_t)of + (size_t)c;
        unsigned v = bytes == 1 ? p[k] : (unsigned)(p[2 * k] | p[2 * k + 1] << 8);
        return v >> (high + 1 - stored) & ((1u << stored) - 1);
    }
};

static void ybr_to_rgb(uint8_t *to, double y, double b, double r)
{
    b -= 128, r -= 128;
    to[0] = to_byte(y + 1.402 * r);
    to[1] = to_byte(y - 0.344136286 * b - 0.714136286 * r);
    to[2] = to_byte(y + 1.772 * b);
}

/* Y Y Cb Cr for two pixels */
static void from_422(const uint8_t *p, size_t pixels, uint8_t *to)
{
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t *q = p + i / 2 * 4;
        ybr_to_rgb(to + 3 * i, q[i % 2], q[2], q[3]);
    }
}

static void paint(dicom *d, const samples &s, const std::string &colour, uint8_t *to)
{
    size_t pixels = (size_t)d->columns * (size_t)d->rows;
    if (d->samples == 1 && d->palette[0].level.empty())
        for (size_t i = 0; i < pixels; i++) to[i] = d->shade[s.at(i, 0)];
    else if (d->samples == 1)
        for (size_t i = 0; i < pixels; i++)
            for (int c = 0; c < 3; c++) {
                const lookup &l = d->palette[c];
                to[3 * i + (size_t)c] = (uint8_t)((int)l.at(s.at(i, 0)) >> (l.bits > 8 ? l.bits - 8 : 0));
            }
    else
        for (size_t i = 0; i < pixels; i++) {
            int down = s.stored > 8 ? s.stored - 8 : 0;
            uint8_t v[3];
            for (int c = 0; c < 3; c++) v[c] = (uint8_t)(s.at(i, c) >> down);
            if (colour == "RGB") std::memcpy(to + 3 * i, v, 3);
            else ybr_to_rgb(to + 3 * i, v[0], v[1], v[2]);
        }
}

static int picture(dicom *d, int64_t k, uint8_t *to)
{
    bytes b;
    std::string colour = d->colour;
    int allocated = d->allocated;
    if (d->encapsulated) {
        if (int rc = decode(d, k, &b, &colour, &allocated)) return rc;
    } else {
        b.resize(d->native.size);
        if (!read_at(d, d->native.at + (uint64_t)k * d->native.size, b.data(), b.size())) return damaged(d, "cannot be read");
        if (d->syntax == gdcm::TransferSyntax::ExplicitVRBigEndian && allocated == 16)
            for (size_t i = 0; i + 1 < b.size(); i += 2) std::swap(b[i], b[i + 1]);
        if (colour == "YBR_FULL_422") return from_422(b.data(), (size_t)d->columns * (size_t)d->rows, to), FT_OK;
    }
    if (d->samples == 1 && d->palette[0].level.empty()) shade_for(d, k);
    bool planes = d->planar && !d->encapsulated && d->samples == 3;
    int stored = std::min(d->stored, allocated);
    paint(d,
          {b.data(), allocated / 8, stored, stored == d->stored && allocated == d->allocated ? d->high : stored - 1, d->samples,
           planes ? (size_t)d->columns * (size_t)d->rows : 0},
          colour, to);
    return FT_OK;
}

/* ---- the plugin ----------------------------------------------------------------------------------------------------------- */

template <typename F> static int guarded(const char *path, F what)
{
    try {
        return what();
    } catch (const std::bad_alloc &) {
        return FT_FAIL(FT_ENOMEM, "%s: GDCM asks for more memory than the file can need, or than there is", path);
    } catch (const std::exception &e) {
        return FT_FAIL(FT_EDATA, "%s: GDCM cannot read it (%.80s). It is damaged: leave it out with --on-error skip", path,
                       e.what());
    } catch (...) {
        return FT_FAIL(FT_EDATA, "%s: GDCM cannot read it. It is damaged: leave it out with --on-error skip", path);
    }
}

static int open(void **file, const char *path, bool pictures, ft_dicom_head *head, ft_dicom_identity *who)
{
    std::memset(head, 0, sizeof *head);
    std::memset(who, 0, sizeof *who);
    *file = nullptr;
    return guarded(path, [&] {
        dicom *d = new dicom();
        *file = d;
        d->path = path;
        return look_at(d, pictures, head, who);
    });
}

static double time_of(void *file, int64_t k) { return ((dicom *)file)->times[(size_t)k]; }

static int frame(void *file, int64_t k, uint8_t *to)
{
    dicom *d = (dicom *)file;
    return guarded(d->path, [&] { return picture(d, k, to); });
}

static int64_t parts(void *file, const ft_dicom_part **all)
{
    const std::vector<part> &p = ((dicom *)file)->pictures[0];
    *all = p.data();
    return (int64_t)p.size();
}

static void close(void *file) { delete (dicom *)file; }

static const ft_dicom_api api = {open, time_of, frame, parts, close};
extern "C" {
extern const ft_dicom_api *const ft_dicom_gdcm;
const ft_dicom_api *const ft_dicom_gdcm = &api;
}
