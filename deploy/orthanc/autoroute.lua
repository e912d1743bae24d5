-- Sends every MR series on to Sagittal, in one association, once nothing has come to it for StableAge seconds.
-- What Sagittal sends back has the modality SEG, so that no result is ever sent round again.
-- (SendToModality() would not do: from here it takes an instance, and fails with a series.)
-- Orthanc does not repeat a job that failed: resubmit it from Orthanc's list of jobs.

function OnStableSeries(seriesId, tags, metadata)
   if tags['Modality'] == 'MR' then
      local request = { Resources = { seriesId }, Synchronous = false }
      RestApiPost('/modalities/sagittal/store', DumpJson(request, true))
   end
end
