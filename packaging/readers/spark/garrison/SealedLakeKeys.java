// Gives Spark, and whatever else reads Parquet by parquet-hadoop, the key of a sealed lake of Garrison.
//
//   parquet.crypto.factory.class   garrison.SealedLakeKeys
//   garrison.reader.key.file       the file that `garrison tenant key show --for-query-server FILE` wrote
//
// The key stays in that file: properties of a job are shown in Spark's pages and written to its event log. The file is
// read where tasks run, so each executor needs it (`spark-submit --files` brings it, under its bare name).
// Described in docs/reference/data-protection.md.
package garrison;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.crypto.DecryptionPropertiesFactory;
import org.apache.parquet.crypto.FileDecryptionProperties;
import org.apache.parquet.crypto.ParquetCryptoRuntimeException;

/** Answers the reader key for sealed files, and none for plain ones, which a lake may have beside them. */
public final class SealedLakeKeys implements DecryptionPropertiesFactory {
    private static final String KEY_FILE = "garrison.reader.key.file";
    /** How the lake names sealed files. */
    private static final String SEALED = ".sealed.parquet";
    /** The file is far smaller; another one is not read into memory. */
    private static final long KEY_FILE_BYTES_MAX = 16 << 10;
    private static final int KEY_BYTES = 32;

    @Override
    public FileDecryptionProperties getFileDecryptionProperties(
            Configuration configuration, org.apache.hadoop.fs.Path file) throws ParquetCryptoRuntimeException {
        if (!file.getName().endsWith(SEALED)) {
            return null;
        }
        String name = configuration.get(KEY_FILE);
        if (name == null) {
            throw new ParquetCryptoRuntimeException(
                    "`" + file + "` is sealed: `" + KEY_FILE + "` must name the file with the reader key");
        }
        Path keyFile = Paths.get(name);
        String text;
        try {
            if (Files.size(keyFile) > KEY_FILE_BYTES_MAX) {
                throw new ParquetCryptoRuntimeException("`" + keyFile + "` is no key file: it is too large");
            }
            text = new String(Files.readAllBytes(keyFile), StandardCharsets.UTF_8);
        } catch (IOException error) {
            throw new ParquetCryptoRuntimeException("cannot read the key file `" + keyFile + "`", error);
        }
        String id = field(text, "keyId", keyFile);
        byte[] key;
        try {
            key = Base64.getDecoder().decode(field(text, "readerKey", keyFile));
        } catch (IllegalArgumentException error) {
            throw new ParquetCryptoRuntimeException("the key in `" + keyFile + "` is no base64", error);
        }
        if (key.length != KEY_BYTES) {
            throw new ParquetCryptoRuntimeException("the key in `" + keyFile + "` has not " + KEY_BYTES + " bytes");
        }
        // The footer names its key, so that a wrong one is said to be wrong before anything is decrypted.
        String expected = "{\"garrison\":1,\"key\":\"" + id + "\"}";
        return FileDecryptionProperties.builder()
                .withKeyRetriever(metadata -> {
                    String named = metadata == null ? "" : new String(metadata, StandardCharsets.UTF_8);
                    if (!named.equals(expected)) {
                        throw new ParquetCryptoRuntimeException(
                                "`" + file + "` is sealed with the key " + named + ", not with `" + id + "`");
                    }
                    return key.clone();
                })
                .build();
    }

    /** A text of the key file, which is a flat JSON object of texts that have no escapes in them. */
    private static String field(String text, String name, Path keyFile) {
        Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([A-Za-z0-9+/=]+)\"").matcher(text);
        if (!found.find()) {
            throw new ParquetCryptoRuntimeException("`" + keyFile + "` has no `" + name + "`");
        }
        return found.group(1);
    }
}
