-- Sends every MR series on to Sagittal once nothing more has come to it for StableAge seconds.
-- What Sagittal sends back has the modality SEG, so that no result is ever sent round again.
-- A job of Orthanc that fails is not repeated by Orthanc: send the series again from its own page.

function OnStableSeries(seriesId, tags, metadata)
   if tags['Modality'] == 'MR' then
      SendToModality(seriesId, 'sagittal')
   end
end
